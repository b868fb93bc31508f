"""Bring a sheet that an annotator filled in back into its atlas, with who and when. I/O."""

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc

from locatlas.errors import InputError
from locatlas.indexer.annotation.said import Annotation, check_annotator
from locatlas.indexer.annotation.sheet import AllowedLabels, SheetRow, read_sheet, refuse_lines
from locatlas.indexer.annotation.table import (
    apply_annotations,
    consensus_by_image,
    put_annotations,
    read_annotations,
)
from locatlas.indexer.labels import get_vocabulary
from locatlas.indexer.published.writing import writes
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import tidy

__all__ = ["allowed_labels", "import_annotations", "labels_in_use", "parse_time"]

_ImageLevel = Literal["fov", "cell"]
_LEVELS: tuple[_ImageLevel, ...] = ("cell", "fov")


@writes("annotate import")
def import_annotations(
    sheet: str | Path,
    *,
    atlas: str | Path,
    annotator: str,
    at: dt.datetime | str | None = None,
    vocabulary: str | None = None,
    new_labels: bool = False,
) -> dict[str, Any]:
    """Import the decisions of a sheet; a second import of the same sheet does nothing.

    An empty cell in `localizations` says that the annotator did not look; "none" that there was nothing to be seen.
    Another decision of the same annotator replaces the one before. If any line cannot be used, nothing is written.

    Args:
        sheet: As `annotate export` wrote it, filled in.
        atlas: The atlas it was exported from.
        annotator: Who filled it in.
        at: When, ISO 8601 (without a zone: UTC); None for now. Decisions that are stored already keep their time.
        vocabulary: Name of the vocabulary that labels must be from; None for the labels the atlas uses.
        new_labels: Whether other labels are taken as they are written.

    Returns:
        annotator, decisions, new, changed, unchanged, skipped, none (decisions that there is nothing to be seen),
        cells_updated, disputed (ids in this sheet on which annotators do not agree).

    Raises:
        InputError: If the sheet, a line of it, the annotator or the time cannot be used, or another annotator of the
            atlas has that name but for letter case and spaces; names file, line and reason.
        UnknownNameError: If there is no such vocabulary.
        AtlasLockedError: If another process writes.
    """
    sheet, annotator, when = Path(sheet), check_annotator(annotator), parse_time(at)
    rows = read_sheet(sheet)
    store = Store.open(Path(atlas))
    _check_new_name(store, annotator)
    with store.folder.writer(f"annotate import {sheet}"), Run.record(store, "annotate import") as run:
        allowed = allowed_labels(store, vocabulary, new=new_labels)
        decided, n_skipped = _decided(sheet, rows, allowed)
        annotations = _annotations(sheet, store, decided, annotator, when)
        counts = put_annotations(store, annotations, run=run)
        cells = [a.image_id for a in annotations if a.level == "cell"]
        n_cells = apply_annotations(store, cells, run=run)
        run.counts.update(new=counts.new, changed=counts.changed)
        tidy(store, ("annotations", "cells"), run)
    return {
        "annotator": annotator,
        "decisions": len(annotations),
        "new": counts.new,
        "changed": counts.changed,
        "unchanged": counts.unchanged,
        "skipped": n_skipped,
        "none": sum(not a.localizations for a in annotations),
        "cells_updated": n_cells,
        "disputed": _disputed(store, annotations),
    }


def parse_time(at: dt.datetime | str | None) -> dt.datetime:
    """A time with its zone; UTC where it names none, now where there is none.

    Raises:
        InputError: If the text is no ISO 8601 time.
    """
    if at is None:
        return dt.datetime.now(dt.UTC)
    try:
        when = dt.datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError:
        message = f"time {at!r}: ISO 8601 needed, e.g. 2026-04-10 or 2026-04-10T15:30+02:00"
        raise InputError(message) from None
    return when if when.tzinfo is not None else when.replace(tzinfo=dt.UTC)


def labels_in_use(store: Store) -> set[str]:
    """Localizations that images of the atlas have, inherited or annotated."""
    found = {label for a in read_annotations(store) for label in a.localizations}
    for level in _LEVELS:
        column = store.read(image_table(level), ["localizations"])["localizations"]
        found |= set(pc.unique(pc.list_flatten(column)).to_pylist())
    return found


def allowed_labels(store: Store, vocabulary: str | None, *, new: bool = False) -> AllowedLabels:
    """What may be written in a sheet: the labels of a vocabulary, or those the atlas uses.

    Raises:
        UnknownNameError: If there is no such vocabulary.
    """
    if vocabulary is not None:
        return AllowedLabels.of_vocabulary(get_vocabulary(vocabulary), new=new)
    return AllowedLabels(labels_in_use(store), "the labels this atlas uses", new=new)


def _check_new_name(store: Store, annotator: str) -> None:
    """Refuse a second spelling of a name, which would count one person twice."""

    def folded(name: str) -> str:
        return "".join(name.split()).casefold()

    names = {a.annotator for a in read_annotations(store)}
    alike = sorted(name for name in names if folded(name) == folded(annotator))
    if alike and annotator not in alike:
        message = (
            f"annotator {annotator!r}: this atlas has {alike[0]!r}, which differs by letter case or spaces only; write "
            f"{alike[0]!r}, or another name for another person"
        )
        raise InputError(message)


def _decided(
    sheet: Path, rows: Iterable[SheetRow], allowed: AllowedLabels
) -> tuple[list[tuple[SheetRow, tuple[str, ...]]], int]:
    """Lines with a decision, an image once; and how many have none."""
    problems: list[tuple[int, str]] = []
    found: dict[str, tuple[SheetRow, tuple[str, ...]]] = {}
    n_skipped = 0
    for row in rows:
        try:
            chosen = allowed.decision(row.localizations)
        except InputError as error:
            problems.append((row.line, str(error)))
            continue
        if chosen is None:
            n_skipped += 1
            continue
        before, said = found.setdefault(row.id, (row, chosen))
        if (said, before.note, before.source_digest) != (chosen, row.note, row.source_digest):
            problems.append((row.line, f"another answer for {row.id!r} than in line {before.line}"))
    refuse_lines(sheet, problems)
    return list(found.values()), n_skipped


def _annotations(
    sheet: Path,
    store: Store,
    decided: Iterable[tuple[SheetRow, tuple[str, ...]]],
    annotator: str,
    at: dt.datetime,
) -> list[Annotation]:
    """Decisions on images as they are now."""
    decided = list(decided)
    digests = {level: _digests(store, level, [row.id for row, _ in decided]) for level in _LEVELS}
    problems: list[tuple[int, str]] = []
    annotations = []
    for row, chosen in decided:
        levels = [level for level in _LEVELS if row.id in digests[level]]
        level = next((one for one in levels if digests[one][row.id] == row.source_digest), None)
        if level is not None:
            annotations.append(
                Annotation(image_id=row.id, level=level, annotator=annotator, localizations=chosen, at=at,
                           source_digest=row.source_digest, note=row.note or None)
            )  # fmt: skip
        elif levels:
            problems.append((row.line, f"{row.id!r} is another image now than the one exported; export it again"))
        else:
            problems.append((row.line, f"{row.id!r} is no cell or FOV of this atlas"))
    refuse_lines(sheet, problems)
    return annotations


def _digests(store: Store, level: str, ids: list[str]) -> dict[str, str]:
    table = image_table(level)
    if not ids or not store.has(table):
        return {}
    rows = store.read_rows(table, ids, ["id", "source_digest"])
    return dict(zip(rows["id"].to_pylist(), rows["source_digest"].to_pylist(), strict=True))


def _disputed(store: Store, annotations: Iterable[Annotation]) -> list[str]:
    """Ids of these images on which the annotators of the atlas do not agree."""
    digests = {level: {a.image_id: a.source_digest for a in annotations if a.level == level} for level in _LEVELS}
    everything = read_annotations(store)
    return sorted(
        image_id
        for level in _LEVELS
        for image_id, together in consensus_by_image(everything, digests[level], level=level).items()
        if together.is_disputed
    )
