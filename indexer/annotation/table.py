"""The `annotations` table, and the columns of `cells` that follow from it. I/O; writers hold the lock."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.annotation.said import Annotation, Consensus, agreed
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.schema import ANNOTATIONS, CELLS
from locatlas.indexer.store.tables import Store

__all__ = ["PutCounts", "apply_annotations", "consensus_by_image", "put_annotations", "read_annotations"]

_COMMIT_ROWS = 1024
"""Rows of `cells` that are rewritten in one commit; each has its thumbnail and mask."""


@dataclass(frozen=True, slots=True)
class PutCounts:
    """What became of annotations that were to be stored.

    Attributes:
        new: The annotator had said nothing of the image.
        changed: Another decision, note, or another state of the image; the old one is replaced.
        unchanged: Stored already, when it was said stays as it was; or said otherwise on a sheet, which stays.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0


def read_annotations(store: Store, *, level: str | None = None) -> list[Annotation]:
    """All annotations, or those of one level, sorted by image and annotator."""
    return [a for a in _annotations(store.read("annotations")) if level in (None, a.level)]


def _stored(store: Store, ids: Sequence[str]) -> list[Annotation]:
    """Those of these ids."""
    return _annotations(store.read_rows("annotations", ids)) if ids and store.has("annotations") else []


def _annotations(rows: pa.Table) -> list[Annotation]:
    return [
        Annotation(
            image_id=row["image_id"],
            level=row["level"],
            annotator=row["annotator"],
            localizations=tuple(row["localizations"]),
            at=row["at"],
            source_digest=row["source_digest"],
            note=row["note"],
        )
        for row in rows.to_pylist()
    ]


def put_annotations(store: Store, annotations: Iterable[Annotation], *, run: Run | None = None) -> PutCounts:
    """Store annotations in one commit; those that are stored already are not written again.

    What a data set says is read at every run. It never replaces what its annotator has said of the same pixels on a
    sheet since.

    The rows of `cells` do not follow by themselves: call `apply_annotations`.

    Args:
        store: The atlas, with the writer lock held.
        annotations: Each image and annotator at most once.
        run: Told before something is written.

    Raises:
        SchemaMismatchError: If an image and annotator come twice, or a text cannot be stored; nothing is written.
    """
    given = list(annotations)
    here = {a.id: a for a in _stored(store, [a.id for a in given])}
    before = [here.get(a.id) for a in given]
    fresh = [a for a, old in zip(given, before, strict=True) if old is None or _replaces(a, old)]
    n_new = sum(old is None for old in before)
    if fresh:
        rows = pa.Table.from_pylist([_row(a) for a in fresh], schema=ANNOTATIONS)
        if run is not None:
            run.touched()
        store.upsert("annotations", rows)
        if run is not None:
            run.wrote([a.id for a in fresh])
    return PutCounts(n_new, len(fresh) - n_new, len(given) - len(fresh))


def _replaces(new: Annotation, old: Annotation) -> bool:
    """Whether an annotator's new decision on an image takes the place of the stored one."""
    if new.is_given and not old.is_given and new.source_digest == old.source_digest:
        return False
    return _said(new) != _said(old)


def _said(annotation: Annotation) -> tuple[Any, ...]:
    a = annotation
    return a.level, a.localizations, a.source_digest, a.note


def _row(annotation: Annotation) -> dict[str, Any]:
    a = annotation
    return {
        "id": a.id,
        "image_id": a.image_id,
        "level": a.level,
        "annotator": a.annotator,
        "localizations": list(a.localizations),
        "at": a.at.astimezone(dt.UTC),
        "source_digest": a.source_digest,
        "note": a.note,
    }


def consensus_by_image(
    annotations: Iterable[Annotation], digests: Mapping[str, str], *, level: str = "cell"
) -> dict[str, Consensus]:
    """What the annotators of each image say together.

    Args:
        annotations: Of any images and levels.
        digests: Digest of the images there are now, by id; annotations of other pixels do not count.
        level: "fov" or "cell".

    Returns:
        By id, images with at least one annotation.
    """
    said: defaultdict[str, list[tuple[str, Sequence[str]]]] = defaultdict(list)
    for a in annotations:
        if a.level == level and digests.get(a.image_id) == a.source_digest:
            said[a.image_id].append((a.annotator, a.localizations))
    return {image_id: agreed(decisions) for image_id, decisions in said.items()}


def apply_annotations(store: Store, ids: Collection[str] | None = None, *, run: Run | None = None) -> int:
    """Bring `annotated` and `annotated_by` of cells up to what the annotations say; only rows that differ are written.

    Disputed cells keep `annotated` null and name those who looked in `annotated_by`. Cells without an annotation of
    their present pixels have null in both.

    Args:
        store: The atlas, with the writer lock held.
        ids: Cells to look at; None for all.
        run: Told before something is written.

    Returns:
        Number of rows that were written.
    """
    if not store.has("cells") or (ids is not None and not ids):
        return 0
    columns = ["id", "source_digest", "annotated", "annotated_by"]
    table = store.read("cells", columns) if ids is None else store.read_rows("cells", list(ids), columns)
    annotations = read_annotations(store, level="cell")
    # of millions of cells few are annotated: only those are looked at one by one
    named = pc.is_in(table["id"], pa.array(sorted({a.image_id for a in annotations}), pa.string()))
    said = pc.or_(pc.is_valid(table["annotated"]), pc.is_valid(table["annotated_by"]))
    cells = table.filter(pc.or_(named, said)).to_pylist()
    together = consensus_by_image(annotations, {c["id"]: c["source_digest"] for c in cells})
    wrong = {}
    for cell in cells:
        wanted = _derived(together.get(cell["id"]))
        if (cell["annotated"], cell["annotated_by"]) != wanted:
            wrong[cell["id"]] = wanted
    todo = sorted(wrong)
    if todo and run is not None:
        run.touched()
    for start in range(0, len(todo), _COMMIT_ROWS):
        rows = store.read_rows("cells", todo[start : start + _COMMIT_ROWS], CELLS.names)
        store.upsert("cells", _with_derived(rows, wrong))
    return len(todo)


def _derived(consensus: Consensus | None) -> tuple[list[str] | None, str | None]:
    if consensus is None:
        return None, None
    chosen = None if consensus.localizations is None else list(consensus.localizations)
    return chosen, consensus.annotated_by


def _with_derived(rows: pa.Table, wanted: Mapping[str, tuple[list[str] | None, str | None]]) -> pa.Table:
    """Rows of `cells` with the two columns replaced."""
    ids = rows["id"].to_pylist()
    for place, name in enumerate(("annotated", "annotated_by")):
        field = CELLS.field(name)
        values = pa.array([wanted[i][place] for i in ids], field.type)
        rows = rows.set_column(rows.schema.get_field_index(name), field, values)
    return rows
