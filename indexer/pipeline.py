"""From records to committed rows: read and check in threads, encode in batches, commit by chunk. I/O.

Chunks are cut by position in the sorted list of records, not by what happens to be left, and batches are cut within
chunks, so that a run that was killed and continued encodes in the same batches as one that was not, and ends
bit-identical.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.cells.rows import source_digest_of_cell
from locatlas.indexer.commits import FROM_PIXELS, Commits, Done, Loaded, Pending, same_pixels
from locatlas.indexer.decoding import read_image
from locatlas.indexer.fields import SharedFields
from locatlas.indexer.images import thumbnail
from locatlas.indexer.profile import Profile, worked
from locatlas.indexer.quarantine import Rejection
from locatlas.indexer.read_ahead import read_ahead
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.rows import is_cut, place_of
from locatlas.interrupts import check_stop
from locatlas.models.crops import CropPlan, cut
from locatlas.models.qc import qc_flags
from locatlas.types import ChannelImage

__all__ = [
    "COMMIT_ROWS",
    "FROM_PIXELS",
    "EncoderLike",
    "Pending",
    "Progress",
    "cut_cell",
    "embed_pending",
    "pixel_columns",
]

COMMIT_ROWS = 256
"""Images a commit, at most."""

COMMIT_S = 10.0
"""Seconds after which what is embedded is committed, whole batches only: what a kill loses of a slow encoder's work."""

BATCH_IMAGES = 32
"""Images handed to the encoder at once; never machine-dependent, so that a run may be continued elsewhere."""

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


class EncoderLike(Protocol):
    """What the pipeline asks of an encoder."""

    def prepare(self, image: Any) -> Any:
        """Check and transform one image; raises ImageRejectedError."""

    def encode_prepared(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Vectors of prepared images, (n, d)."""


def pixel_columns(image: ChannelImage, digest: str, stat: str) -> dict[str, Any]:
    """The columns `FROM_PIXELS` of an image.

    Args:
        image: As it was read.
        digest: Of its bytes.
        stat: Size and time of its sources, looked at before they were read.
    """
    return {**_told_at_once(image, digest, stat), "thumbnail": thumbnail(image)}


def _told_at_once(image: ChannelImage, digest: str, stat: str) -> dict[str, Any]:
    """The columns `FROM_PIXELS` but for the picture, which takes as long as all else."""
    return {
        "height": image.pixels.shape[1],
        "width": image.pixels.shape[2],
        "source_digest": digest,
        "source_stat": stat,
        "qc": list(qc_flags(image)),
    }


def _load(
    pending: Pending,
    encoder: EncoderLike,
    fields: SharedFields,
    crop: CropPlan | None,
    profile: Profile | None,
) -> Loaded | Rejection:
    try:
        with worked(profile, "reading and decoding"):
            if is_cut(pending.row):
                image, digest = cut_cell(pending.record, pending.row, fields, crop), None
            else:
                image, digest = read_image(pending.record)
        with worked(profile, "preparing"):
            prepared = encoder.prepare(image)
    except ImageRejectedError as error:
        # the network's reasons do not know the file
        path = str(pending.record.sources[0].path)
        return pending.rejected(str(error) if path in str(error) else f"{path}: {error}")
    if digest is None:
        return Loaded(pending, dict(pending.row), prepared)
    with worked(profile, "describing"):
        row = {**pending.row, **_told_at_once(image, digest, pending.stat)}
        # an image that the atlas knows as it is keeps its row, and its picture
        if not same_pixels(pending.row, row):
            row["thumbnail"] = thumbnail(image)
    return Loaded(pending, row, prepared)


def cut_cell(record: ImageRecord, row: Mapping[str, Any], fields: SharedFields, crop: CropPlan | None) -> ChannelImage:
    """The crop of a cell.

    Args:
        record: Of the cell; its sources are those of its field.
        row: Of `cells`, with a box.
        fields: Decoded fields.
        crop: How it is cut; an encoder of cut cells has one.

    Raises:
        ImageRejectedError: If its field cannot be read, is another than the one that the cell was found in, or the
            cell cannot be cut.
    """
    assert crop is not None  # see encoders.choose
    field, digest = fields.read(record)
    place = place_of(row)
    if source_digest_of_cell(digest, record, place) != row["source_digest"]:
        message = f"{record.sources[0].path}: changed since its cells were found; index it again"
        raise ImageRejectedError(message)
    return cut(field, place, crop)


def _in_order(
    work: Iterable[Pending],
    encoder: EncoderLike,
    pool: ThreadPoolExecutor,
    crop: CropPlan | None,
    profile: Profile | None,
) -> Iterator[Loaded | Rejection]:
    """Load ahead of the encoder by at most two batches, in order."""
    fields = SharedFields()
    waiting: deque[Future[Loaded | Rejection]] = deque()
    todo = iter(work)
    ahead = 2 * BATCH_IMAGES
    for pending in islice(todo, ahead):
        waiting.append(pool.submit(_load, pending, encoder, fields, crop, profile))
    while waiting:
        done = waiting.popleft().result()
        for pending in islice(todo, 1):
            waiting.append(pool.submit(_load, pending, encoder, fields, crop, profile))
        yield done


def _chunks(work: Iterable[Pending], commit_rows: int) -> Iterator[list[Pending]]:
    chunk: list[Pending] = []
    for pending in work:
        if chunk and pending.position // commit_rows != chunk[0].position // commit_rows:
            yield chunk
            chunk = []
        chunk.append(pending)
    if chunk:
        yield chunk


class Throttle:
    """Leaves a share of the time to others by waiting after each batch.

    Args:
        share: Of the time that is worked, in (0, 1].
        clock: Seconds that pass.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        share: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < share <= 1:
            message = f"share of the time to work: {share:g}; more than 0 and at most 1 needed"
            raise InputError(message)
        self._idle_per_busy = 1 / share - 1
        self._clock, self._sleep = clock, sleep
        self._began = clock()

    def start(self) -> None:
        """Count the work from now on: what went before was waiting."""
        self._began = self._clock()

    def rest(self) -> float:
        """Wait for as long as the work since the last rest calls for; the seconds that were asked for."""
        seconds = (self._clock() - self._began) * self._idle_per_busy
        if seconds > 0:
            self._sleep(seconds)
        self.start()
        return seconds


def embed_pending(
    commits: Commits,
    work: Collection[Pending],
    encoder: EncoderLike,
    *,
    progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
    crop: CropPlan | None = None,
    throttle: Throttle | None = None,
    profile: Profile | None = None,
) -> None:
    """Read, encode and commit records, chunk by chunk: image rows first, then vectors, then quarantine.

    A vector never stands without its image row; an image row without its vector is taken up again by the next run.
    Files are read ahead across chunks.

    Args:
        commits: Where to, and how.
        work: What to embed, by position.
        encoder: Loaded encoder.
        progress: Told after each batch.
        commit_rows: Images a commit.
        crop: How cells are cut out of their fields; a field is read once, however many cells it has.
        throttle: Rests after each batch.
        profile: Takes the seconds of each stage; None for none.
    """
    with nullcontext() if profile is None else profile.run(commits.run.timings_s):
        _embed(commits, work, encoder, progress, commit_rows, crop, throttle, profile)
    if profile is not None:
        profile.measure_encoder(encoder)


def _embed(
    commits: Commits,
    work: Collection[Pending],
    encoder: EncoderLike,
    progress: Progress | None,
    commit_rows: int,
    crop: CropPlan | None,
    throttle: Throttle | None,
    profile: Profile | None,
) -> None:
    run = commits.run
    done, committed_at = 0, time.monotonic()
    with read_ahead("locatlas-read") as pool:
        loaded = _in_order(work, encoder, pool, crop, profile)
        for chunk in _chunks(work, commit_rows):
            waiting, batch = Done(), list[Loaded]()
            for left, pending in zip(reversed(range(len(chunk))), chunk, strict=True):
                with run.timed("read"):
                    item = next(loaded)
                if isinstance(item, Rejection):
                    waiting.bad.append((pending.row, item))
                else:
                    batch.append(item)
                if batch and (not left or len(batch) == BATCH_IMAGES):
                    with run.timed("encode"):
                        waiting.vectors.append(encoder.encode_prepared([b.prepared for b in batch]))
                    if profile is not None:
                        profile.encoded([b.prepared for b in batch])
                    # the pixels of a batch are not needed once it is encoded
                    waiting.good += [Loaded(b.pending, b.row, None) for b in batch]
                    batch = []
                    check_stop()
                    if throttle is not None:
                        with run.timed("rest"):
                            throttle.rest()
                    if time.monotonic() - committed_at > COMMIT_S:
                        # at the end of a batch: what is left of the chunk makes the same batches in the next run
                        commits.put(waiting)
                        waiting, committed_at = Done(), time.monotonic()
                    if progress:
                        progress("embedding", done + len(chunk) - left, len(work))
            commits.put(waiting)
            done, committed_at = done + len(chunk), time.monotonic()
            if throttle is not None:
                throttle.start()  # whoever held the lock was not this run's work
            if progress:
                progress("embedding", done, len(work))
