"""From records to committed rows: read and check in threads, encode in batches, commit by chunk. I/O.

Chunks are cut by position in the sorted list of records, not by what happens to be left, and batches are cut within
chunks, so that a run that was killed and continued encodes in the same batches as one that was not, and ends
bit-identical.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.rows import source_digest_of_cell
from locatlas.indexer.fields import SharedFields
from locatlas.indexer.images import read_image, thumbnail
from locatlas.indexer.ledger import Run
from locatlas.indexer.quarantine import Quarantine, Rejection, rejection_id
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.rows import image_rows, is_cut, place_of, row_source
from locatlas.indexer.schema import embedding_table_name, image_table
from locatlas.indexer.store import FRAGMENTS_BEFORE_COMPACTION, Store
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

FROM_PIXELS = ("height", "width", "source_digest", "source_stat", "qc", "thumbnail")
"""Columns of the image tables that are known once an image was read."""

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


class EncoderLike(Protocol):
    """What the pipeline asks of an encoder."""

    def prepare(self, image: Any) -> Any:
        """Check and transform one image; raises ImageRejectedError."""

    def encode_prepared(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Vectors of prepared images, (n, d)."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A record to be embedded.

    Attributes:
        position: Its place in the sorted list of all records of its level; decides the chunk.
        record: What to read.
        row: Its row as far as it is known without pixels: from the record (`index`), or as stored (`embed`).
        stat: Size and time of its sources, looked at before they are read.
        tried: Digest of all that decides whether it can be used.
    """

    position: int
    record: ImageRecord
    row: Mapping[str, Any]
    stat: str
    tried: str

    @property
    def key(self) -> str:
        """Its place in quarantine."""
        return rejection_id(self.row["dataset"], self.row["root"], row_source(self.row))

    def rejected(self, reason: str) -> Rejection:
        """Its entry in quarantine."""
        return Rejection(
            dataset=self.row["dataset"],
            root=self.row["root"],
            source=row_source(self.row),
            reason=reason,
            tried=self.tried,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    pending: Pending
    row: dict[str, Any]
    prepared: Any

    @property
    def is_new(self) -> bool:
        """Whether the row says something of the pixels that the stored one does not."""
        before, after = self.pending.row, self.row
        return any(c not in before or before[c] != after[c] for c in FROM_PIXELS if c != "thumbnail")


def pixel_columns(image: ChannelImage, digest: str, stat: str) -> dict[str, Any]:
    """The columns `FROM_PIXELS` of an image.

    Args:
        image: As it was read.
        digest: Of its bytes.
        stat: Size and time of its sources, looked at before they were read.
    """
    return {
        "height": image.pixels.shape[1],
        "width": image.pixels.shape[2],
        "source_digest": digest,
        "source_stat": stat,
        "qc": list(qc_flags(image)),
        "thumbnail": thumbnail(image),
    }


def _load(pending: Pending, encoder: EncoderLike, fields: SharedFields, crop: CropPlan | None) -> _Loaded | Rejection:
    try:
        if is_cut(pending.row):
            return _Loaded(
                pending, dict(pending.row), encoder.prepare(cut_cell(pending.record, pending.row, fields, crop))
            )
        image, digest = read_image(pending.record)
        prepared = encoder.prepare(image)
    except ImageRejectedError as error:
        # the network's reasons do not know the file
        path = str(pending.record.sources[0].path)
        return pending.rejected(str(error) if path in str(error) else f"{path}: {error}")
    return _Loaded(pending, {**pending.row, **pixel_columns(image, digest, pending.stat)}, prepared)


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
    work: Sequence[Pending], encoder: EncoderLike, pool: ThreadPoolExecutor, crop: CropPlan | None
) -> Iterator[_Loaded | Rejection]:
    """Load ahead of the encoder by at most two batches, in order."""
    fields = SharedFields()
    waiting: deque[Future[_Loaded | Rejection]] = deque()
    todo = iter(work)
    ahead = 2 * BATCH_IMAGES
    for pending in islice(todo, ahead):
        waiting.append(pool.submit(_load, pending, encoder, fields, crop))
    while waiting:
        done = waiting.popleft().result()
        for pending in islice(todo, 1):
            waiting.append(pool.submit(_load, pending, encoder, fields, crop))
        yield done


def _chunks(work: Sequence[Pending], commit_rows: int) -> Iterator[list[Pending]]:
    chunk: list[Pending] = []
    for pending in work:
        if chunk and pending.position // commit_rows != chunk[0].position // commit_rows:
            yield chunk
            chunk = []
        chunk.append(pending)
    if chunk:
        yield chunk


def embed_pending(
    store: Store,
    level: str,
    fingerprint: str,
    work: Sequence[Pending],
    encoder: EncoderLike,
    *,
    run: Run,
    quarantine: Quarantine,
    progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
    crop: CropPlan | None = None,
) -> None:
    """Read, encode and commit records, chunk by chunk: image rows first, then vectors, then quarantine.

    A vector never stands without its image row; an image row without its vector is taken up again by the next run.
    Files are read ahead across chunks. Once commits have left many fragments they are merged on the way, because each
    commit looks at all of them.

    Args:
        store: The atlas; its writer lock is held.
        level: "fov" or "cell".
        fingerprint: Of the encoder.
        work: What to embed, by position.
        encoder: Loaded encoder.
        run: Ledger entry; counts "embedded" and "quarantined".
        quarantine: Takes what cannot be used.
        progress: Told after each batch.
        commit_rows: Images a commit.
        crop: How cells are cut out of their fields; a field is read once, however many cells it has.
    """
    done, committed_at = 0, time.monotonic()
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="locatlas-read") as pool:
        loaded = _in_order(work, encoder, pool, crop)
        for number, chunk in enumerate(_chunks(work, commit_rows), start=1):
            good: list[_Loaded] = []
            batch: list[_Loaded] = []
            vectors: list[NDArray[np.float32]] = []
            for left in reversed(range(len(chunk))):
                with run.timed("read"):
                    item = next(loaded)
                if isinstance(item, Rejection):
                    quarantine.put(item)
                    run.counts["quarantined"] += 1
                else:
                    batch.append(item)
                if batch and (not left or len(batch) == BATCH_IMAGES):
                    with run.timed("encode"):
                        vectors.append(encoder.encode_prepared([b.prepared for b in batch]))
                    # the pixels of a batch are not needed once it is encoded
                    good += [_Loaded(b.pending, b.row, None) for b in batch]
                    batch = []
                    if time.monotonic() - committed_at > COMMIT_S:
                        # at the end of a batch: what is left of the chunk makes the same batches in the next run
                        with run.timed("commit"):
                            _commit(store, level, fingerprint, good, vectors, run, quarantine)
                        good, vectors, committed_at = [], [], time.monotonic()
                    if progress:
                        progress("embedding", done + len(chunk) - left, len(work))
            with run.timed("commit"):
                _commit(store, level, fingerprint, good, vectors, run, quarantine)
                if number % FRAGMENTS_BEFORE_COMPACTION == 0:
                    for table in (image_table(level), embedding_table_name(level, fingerprint)):
                        store.compact(table)
            done, committed_at = done + len(chunk), time.monotonic()
            if progress:
                progress("embedding", done, len(work))


def _commit(
    store: Store,
    level: str,
    fingerprint: str,
    good: Sequence[_Loaded],
    vectors: Sequence[NDArray[np.float32]],
    run: Run,
    quarantine: Quarantine,
) -> None:
    if good:
        run.touched()
        # a cell's own flags were told when it was found
        run.counts.update(f"qc {flag}" for item in good if not is_cut(item.row) for flag in item.row["qc"])
        ids = [item.row["id"] for item in good]
        if new := [item.row for item in good if item.is_new]:
            store.upsert(image_table(level), image_rows(new, level))
        digests = [item.row["source_digest"] for item in good]
        store.put_embeddings(level, fingerprint, ids, digests, np.concatenate(vectors))
        for item in good:
            quarantine.release(item.pending.key)
        run.counts["embedded"] += len(ids)
        run.wrote(ids)
    quarantine.commit(run)
