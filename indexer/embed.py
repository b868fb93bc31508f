"""Give every image of an atlas its vector by an encoder, beside those it has, and switch when complete. I/O."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer import encoders
from locatlas.indexer.encoders import EncoderRequest
from locatlas.indexer.job import IndexSummary, Job, image_table
from locatlas.indexer.ledger import Run
from locatlas.indexer.pipeline import COMMIT_ROWS, Pending, Progress
from locatlas.indexer.quarantine import Quarantine, Rejection
from locatlas.indexer.rows import record_from_row
from locatlas.indexer.store import Store

__all__ = ["embed"]


def embed(
    *,
    atlas: Path,
    request: EncoderRequest,
    levels: Iterable[str] = ("fov", "cell"),
    progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
) -> IndexSummary:
    """Give every image of an atlas its vector by an encoder, beside those it has, and switch when complete.

    Queries use the encoder before until the last vector is committed.

    Args:
        atlas: Atlas folder.
        request: Encoder and plan; empty for the current one, to complete what is missing.
        levels: Image levels to embed; those without images are passed over.
        progress: Told of what goes on.
        commit_rows: Images a commit.

    Raises:
        InputError: If the atlas holds no images.
    """
    store = Store.open(atlas)
    with store.folder.writer("embed"), Run.record(store, "embed") as run:
        roots = {name: Path(path) for name, path in store.folder.info()["roots"].items()}
        job = Job(store, run, Quarantine(store), roots, progress, commit_rows)
        for level in levels:
            rows = [row for row in store.read(image_table(level)).to_pylist() if row["sources"]]
            if rows:
                _embed_level(job, level, rows, request)
        if not job.summary.encoders:
            message = f"{atlas}: holds no images at level {' or '.join(levels)} that could be embedded"
            raise InputError(message)
        return job.finish()


def _embed_level(job: Job, level: str, rows: Sequence[Mapping[str, Any]], request: EncoderRequest) -> None:
    encoder = encoders.choose(job.store, level, request, available=tuple(rows[0]["channels"]), adding=True)
    embedded = job.digests(encoder)
    work = []
    for position, row in enumerate(rows):
        if embedded.get(row["id"]) == row["source_digest"]:
            job.summary.skipped += 1
            continue
        try:
            work.append(Pending(position, record_from_row(row, level=level, roots=job.roots), row))
        except ImageRejectedError as error:
            job.quarantine.put(Rejection(row["dataset"], row["sources"][0]["path"], str(error)))
    job.embed(encoder, work)
    job.complete(encoder)
