"""From records to committed rows: read and check in threads, encode in batches, commit by chunk. I/O.

Chunks and batches are cut by position in the sorted list of records, not by what happens to be left, so that a run
that was killed and continued encodes in the same batches as one that was not, and ends bit-identical.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.images import read_image, thumbnail
from locatlas.indexer.ledger import Run
from locatlas.indexer.quarantine import Quarantine, Rejection
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.rows import described, image_rows, source_stat
from locatlas.indexer.store import Store
from locatlas.models.qc import qc_flags

__all__ = ["COMMIT_ROWS", "EncoderLike", "Pending", "Progress", "embed_pending", "source_name"]

COMMIT_ROWS = 256
"""Images a commit: a kill loses at most this many. At 10 images a second on a CPU that is half a minute."""

BATCH_IMAGES = 32
"""Images handed to the encoder at once; part of what makes a continued run bit-identical, so never machine-dependent."""

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
        position: Its place in the sorted list of all records of its level; decides chunk and batch.
        record: What to read.
        row: Stored row whose metadata is kept (`embed`), or None to write it from the record (`index`).
    """

    position: int
    record: ImageRecord
    row: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    pending: Pending
    row: dict[str, Any]
    prepared: Any


def source_name(record: ImageRecord, roots: Mapping[str, Path]) -> str:
    """How a record's source is called in messages: path below its root, with the row of a stacked file."""
    path = record.sources[0].path
    name = next((path.relative_to(r).as_posix() for r in roots.values() if path.is_relative_to(r)), str(path))
    return name if record.row is None else f"{name}[{record.row}]"


def _load(pending: Pending, encoder: EncoderLike, roots: Mapping[str, Path]) -> _Loaded | Rejection:
    record, stat = pending.record, None
    try:
        stat = source_stat(record.sources)
        row = dict(pending.row) if pending.row is not None else described(record, roots=roots)
        image, digest = read_image(record)
        qc = qc_flags(image)
        prepared = encoder.prepare(image)
        row |= {
            "height": image.pixels.shape[1],
            "width": image.pixels.shape[2],
            "source_digest": digest,
            "source_stat": stat,
            "qc": list(qc),
            "thumbnail": thumbnail(image),
        }
    except ImageRejectedError as error:
        return Rejection(record.dataset, source_name(record, roots), str(error), stat)
    return _Loaded(pending, row, prepared)


def _in_order(
    work: Sequence[Pending], encoder: EncoderLike, roots: Mapping[str, Path], pool: ThreadPoolExecutor
) -> Iterator[_Loaded | Rejection]:
    """Load ahead of the encoder by at most two batches, in order."""
    waiting: deque[Future[_Loaded | Rejection]] = deque()
    todo = iter(work)
    ahead = 2 * BATCH_IMAGES
    for pending in islice(todo, ahead):
        waiting.append(pool.submit(_load, pending, encoder, roots))
    while waiting:
        done = waiting.popleft().result()
        for pending in islice(todo, 1):
            waiting.append(pool.submit(_load, pending, encoder, roots))
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
    roots: Mapping[str, Path],
    run: Run,
    quarantine: Quarantine,
    progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
) -> None:
    """Read, encode and commit records, chunk by chunk: image rows first, then vectors, then quarantine.

    A vector never stands without its image row; an image row without its vector is taken up again by the next run.

    Args:
        store: The atlas; its writer lock is held.
        level: "fov" or "cell".
        fingerprint: Of the encoder.
        work: What to embed, by position.
        encoder: Loaded encoder.
        roots: Declared folders by name.
        run: Ledger entry; counts "embedded" and "quarantined".
        quarantine: Takes what cannot be used.
        progress: Told after each batch.
        commit_rows: Images a commit.
    """
    done = 0
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="locatlas-read") as pool:
        for chunk in _chunks(work, commit_rows):
            good: list[_Loaded] = []
            batch: list[_Loaded] = []
            vectors: list[NDArray[np.float32]] = []
            loaded = _in_order(chunk, encoder, roots, pool)
            while True:
                with run.timed("read"):
                    item = next(loaded, None)
                if isinstance(item, Rejection):
                    quarantine.put(item)
                    run.counts["quarantined"] += 1
                elif item is not None:
                    batch.append(item)
                if batch and (item is None or len(batch) == BATCH_IMAGES):
                    with run.timed("encode"):
                        vectors.append(encoder.encode_prepared([b.prepared for b in batch]))
                    # the pixels of a batch are not needed once it is encoded
                    good += [_Loaded(b.pending, b.row, None) for b in batch]
                    batch = []
                    if progress:
                        progress("embedding", done + len(good), len(work))
                if item is None:
                    break
            with run.timed("commit"):
                _commit(store, level, fingerprint, good, vectors, run, quarantine)
            done += len(chunk)
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
        table = "fovs" if level == "fov" else "cells"
        ids = [item.row["id"] for item in good]
        store.upsert(table, image_rows([item.row for item in good], level))
        digests = [item.row["source_digest"] for item in good]
        store.put_embeddings(level, fingerprint, ids, digests, np.concatenate(vectors))
        for item in good:
            quarantine.release(item.row["dataset"], [item.row["sources"][0]["path"]])
        run.counts["embedded"] += len(ids)
        run.wrote(ids)
    if quarantine.commit(run.id):
        run.touched()
