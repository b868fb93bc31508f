"""Give every image of an atlas its vector by an encoder, beside those it has, and switch when complete. I/O."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer import encoders
from locatlas.indexer.encoders import EncoderRequest
from locatlas.indexer.job import IndexSummary, Job, image_table, usual_channels
from locatlas.indexer.ledger import Run
from locatlas.indexer.pipeline import COMMIT_ROWS, Progress
from locatlas.indexer.quarantine import Quarantine, Rejection
from locatlas.indexer.rows import record_from_row, row_source, source_stat
from locatlas.indexer.schema import image_schema
from locatlas.indexer.store import Store

__all__ = ["embed"]


def embed(
    *,
    atlas: str | Path,
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
        InputError: If the atlas holds no images, their folder is not there, or the encoder in use was imported.
        AtlasLockedError: If another process writes.
    """
    store = Store.open(Path(atlas))
    with store.folder.writer("embed"), Run.record(store, "embed") as run:
        roots = {name: Path(path) for name, path in store.folder.info()["roots"].items()}
        job = Job(store, run, Quarantine(store), roots, progress, commit_rows)
        levels = tuple(levels)
        for level in levels:
            table = image_table(level)
            # pictures are not needed, and are most of the table
            columns = [name for name in image_schema("fov" if level == "fov" else "cell").names if name != "thumbnail"]
            rows = [row for row in store.read(table, columns).to_pylist() if row["sources"]]
            if rows:
                _embed_level(job, level, rows, request)
        if not job.summary.encoders:
            message = f"{atlas}: holds no images at level {' or '.join(levels)} that could be embedded"
            raise InputError(message)
        return job.finish()


def _embed_level(job: Job, level: str, rows: Sequence[Mapping[str, Any]], request: EncoderRequest) -> None:
    available = usual_channels(row["channels"] for row in rows)
    encoder = encoders.choose(job.store, level, request, available=available, adding=True)
    embedded = job.digests(encoder)
    todo = [(n, row) for n, row in enumerate(rows) if embedded.get(row["id"]) != row["source_digest"]]
    job.summary.skipped += len(rows) - len(todo)
    _check_roots(job, {row["root"] for _, row in todo})
    work = []
    for position, row in todo:
        try:
            record = record_from_row(row, level=level, roots=job.roots)
            pending = job.pending(position, record, row, source_stat(record.sources), encoder)
        except ImageRejectedError as error:
            rejection = Rejection(dataset=row["dataset"], root=row["root"], source=row_source(row), reason=str(error))
            job.quarantine.put(rejection)
            continue
        if not job.quarantine.still(pending.key, pending.tried):
            work.append(pending)
    job.embed(encoder, work)
    job.complete(encoder)


def _check_roots(job: Job, names: Collection[str]) -> None:
    """A folder that is not mounted must not put its images in quarantine and an encoder in use without them."""
    for name in sorted(names):
        if name in job.roots and not job.roots[name].is_dir():
            message = f"{job.roots[name]}: not there, though images of this atlas lie in it (root {name!r}); mount it"
            raise InputError(message)
