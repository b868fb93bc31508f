"""Images whose files are not there any more: told, or removed with all that was made of them. I/O."""

from collections.abc import Sequence

from locatlas.indexer.gone_counts import GONE, gone_by_last_look
from locatlas.indexer.job import Job
from locatlas.indexer.store import encoders
from locatlas.indexer.store.quarantine import rejection_id
from locatlas.indexer.store.rows import rows_of
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.sources import is_cut, row_source

__all__ = ["look_for_gone"]


def look_for_gone(job: Job, level: str, dataset: str, *, prune: bool) -> None:
    """Images of a data set whose files are gone, once those that moved have their new place: tell, or remove them.

    Cells that are cut out of a field go with it.

    Args:
        job: The run.
        level: "fov" or "cell".
        dataset: Name of the data set.
        prune: Delete them, with their vectors by every encoder.
    """
    columns = ["id", "dataset", "root", "sources", *(["box"] if level == "cell" else [])]
    gone = []
    for row in rows_of(job.store.read(image_table(level), columns)):
        if row["dataset"] == dataset and row["sources"] and not is_cut(row):
            folder = job.store.folder.root_path(row["root"])
            if not all((folder / source["path"]).exists() for source in row["sources"]):
                gone.append(row["id"])
    if gone and prune:
        job.run.touched()
        if level == "fov" and job.store.has("cells"):
            columns = ["id", "dataset", "root", "sources", "row", "cell", "box"]
            held = rows_of(job.store.read_rows("cells", gone, columns, key="fov_id"))
            cells = [row for row in held if is_cut(row)]
            for row in cells:
                # a prune that was killed leaves cells without vectors, which this run has tried to embed
                job.quarantine.withdraw(rejection_id(row["dataset"], row["root"], row_source(row)))
            job.quarantine.commit(job.run)  # once their rows are gone nothing would tell
            _remove(job, "cell", [row["id"] for row in cells])
        _remove(job, level, gone)
    _note(job, level, dataset, 0 if prune else len(gone))
    job.summary.gone += gone


def _note(job: Job, level: str, dataset: str, n: int) -> None:
    """Let the ledger say how many are gone; where it says so already, a run that does nothing else leaves no trace."""
    before = gone_by_last_look(job.store).get((dataset, level), (0, ""))[0]
    if n != before:
        job.run.touched()
    if n or before:
        job.run.counts[GONE[level]] = n


def _remove(job: Job, level: str, ids: Sequence[str]) -> None:
    for encoder in encoders.stored_encoders(job.store, level):
        job.store.delete(encoder.table, ids)
    job.store.delete(image_table(level), ids)
    job.run.counts["pruned"] += len(ids)
