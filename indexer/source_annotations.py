"""Annotations of single cells that a data set brings with it, kept beside those that are imported. I/O."""

import datetime as dt
from collections.abc import Iterable, Sequence

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.annotation.said import Annotation, check_annotator
from locatlas.indexer.annotation.table import put_annotations
from locatlas.indexer.job import Job
from locatlas.indexer.records import ImageRecord

__all__ = ["check_annotators", "keep_annotations", "keep_of_records"]


def check_annotators(annotated_by: str) -> None:
    """Refuse names that cannot be stored, before anything is.

    Raises:
        ImageRejectedError: With the name and what is wrong with it.
    """
    try:
        for name in annotated_by.split(";"):
            check_annotator(name)
    except InputError as error:
        raise ImageRejectedError(str(error)) from error


def keep_annotations(job: Job, said: Iterable[tuple[str, str, Sequence[str], str]]) -> None:
    """Store what a data set says of cells.

    Args:
        job: The run.
        said: (cell id, names joined by ";", localizations, source digest) of each annotated cell.
    """
    now = dt.datetime.now(dt.UTC)
    found = [
        annotation
        for cell, names, localizations, digest in said
        for annotation in Annotation.from_source(
            cell, "cell", annotated_by=names, localizations=localizations, source_digest=digest, at=now
        )
    ]
    if found:
        put_annotations(job.store, found, run=job.run)


def keep_of_records(job: Job, records: Iterable[ImageRecord]) -> None:
    """The same for cells that are images of their own; those that are in quarantine have no row and are passed over.

    Raises:
        InputError: If an annotator has no name that can be stored.
    """
    said = {r.id: r for r in records if r.annotated_by is not None}
    if not said:
        return
    rows = job.store.read_rows("cells", sorted(said), ["id", "source_digest"]).to_pylist()
    keep_annotations(
        job,
        ((row["id"], said[row["id"]].annotated_by or "", said[row["id"]].localizations, row["source_digest"])
         for row in rows),
    )  # fmt: skip
