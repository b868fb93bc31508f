"""From records to committed rows: read and check in threads, encode in batches, commit by chunk. I/O.

Chunks are cut by position in the sorted list of records, not by what happens to be left, and batches are cut within
chunks, so that a run that was killed and continued encodes in the same batches as one that was not, and ends
bit-identical.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from locatlas.errors import InputError
from locatlas.indexer.commits import FROM_PIXELS, Commits, Done, Loaded, Pending
from locatlas.indexer.files.fields import SharedFields
from locatlas.indexer.files.read_ahead import read_ahead
from locatlas.indexer.pixel_cache.reading import PixelCache
from locatlas.indexer.profile import Profile
from locatlas.indexer.reading import EncoderLike, in_order
from locatlas.indexer.store.quarantine import Rejection
from locatlas.interrupts import check_stop
from locatlas.models.crops import CropPlan

__all__ = [
    "CHUNK_ROWS",
    "COMMIT_ROWS",
    "COMMIT_S",
    "FROM_PIXELS",
    "Pending",
    "Progress",
    "Timed",
    "chunks",
    "embed_pending",
    "encoded",
]

CHUNK_ROWS = 256
"""Places in the list of all records that are cut into batches by themselves, whatever is left of them to do."""

COMMIT_ROWS = 1024
"""Images a commit, from which on the next chunk that ends is the last of it."""

COMMIT_S = 10.0
"""Seconds after which what is embedded is committed, whole batches only: what a kill loses of a slow encoder's work."""

BATCH_IMAGES = 32
"""Images handed to the encoder at once, whatever the machine, so that a run may be continued elsewhere; others where it
was asked to take another number at once."""

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""

Timed = Callable[[str], AbstractContextManager[None]]
"""Adds the time of a block to a stage."""


def chunks(work: Iterable[Pending], rows: int) -> Iterator[list[Pending]]:
    """What is to be done, cut where the position in the list of all records says so."""
    chunk: list[Pending] = []
    for pending in work:
        if chunk and pending.position // rows != chunk[0].position // rows:
            yield chunk
            chunk = []
        chunk.append(pending)
    if chunk:
        yield chunk


def encoded(
    chunk: Sequence[Pending],
    loaded: Iterator[Loaded | Rejection],
    encoder: EncoderLike,
    timed: Timed,
    profile: Profile | None = None,
) -> Iterator[Done]:
    """Encode a chunk batch by batch.

    Args:
        chunk: What is read.
        loaded: What becomes of it, in the same order.
        encoder: Loaded encoder.
        timed: For the stages "read" and "encode".
        profile: Counts the batches; None for none.

    Yields:
        Each batch with its vectors, and what could not be read since the batch before. The pixels of a batch are not
        needed once it is encoded, and not held.
    """
    done, batch = Done(), list[Loaded]()
    at_once = max(BATCH_IMAGES, encoder.at_once)
    for left, pending in zip(reversed(range(len(chunk))), chunk, strict=True):
        with timed("read"):
            item = next(loaded)
        if isinstance(item, Rejection):
            done.bad.append((pending.row, item))
        else:
            batch.append(item)
        if batch and (not left or len(batch) == at_once):
            with timed("encode"):
                done.vectors.append(encoder.encode_prepared([b.prepared for b in batch]))
            if profile is not None:
                profile.encoded([b.prepared for b in batch])
            done.good += [Loaded(b.pending, b.row, None) for b in batch]
            yield done
            done, batch = Done(), []
    if done.bad:
        yield done


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
        commit_rows: Images a commit; fewer than `CHUNK_ROWS` make chunks smaller, too.
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
    done, waiting, committed_at = 0, Done(), time.monotonic()

    cache = PixelCache(commits.store.folder)

    def commit() -> None:
        nonlocal waiting, committed_at
        run.read_from_pack(cache.take_count())
        commits.put(waiting)
        waiting, committed_at = Done(), time.monotonic()
        if throttle is not None:
            throttle.start()  # whoever held the lock was not this run's work

    if progress:
        progress("embedding", 0, len(work))
    with read_ahead("locatlas-read") as pool:
        fields = SharedFields(cache=cache)
        loaded = in_order(work, encoder, pool, crop, profile=profile, fields=fields)
        for chunk in chunks(work, min(commit_rows, CHUNK_ROWS)):
            for batch in encoded(chunk, loaded, encoder, run.timed, profile):
                waiting.take(batch)
                done += len(batch)
                if not batch.good:
                    continue
                check_stop()
                if throttle is not None:
                    with run.timed("rest"):
                        throttle.rest()
                if time.monotonic() - committed_at > COMMIT_S:
                    # at the end of a batch: what is left of the chunk makes the same batches in the next run
                    commit()
                if progress:
                    progress("embedding", done, len(work))
            if len(waiting) >= commit_rows or commit_rows < CHUNK_ROWS:
                commit()
            if progress:
                progress("embedding", done, len(work))
        if len(waiting):
            commit()
        run.read_from_pack(cache.take_count())  # what could not be used after it was read
