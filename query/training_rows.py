"""Which images of an atlas a training may take: level, filters, labels, groups. Reads the store."""

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.tables import Store
from locatlas.indexer.training.rows import TrainingRows
from locatlas.query.answers.notes import mixed_vocabularies
from locatlas.query.asking.label_source import LabelSource, label_notes, with_label_source
from locatlas.query.asking.selection import allowed_rows, known_groups
from locatlas.query.asking.view import NOT_READ, View
from locatlas.query.asking.vocabulary import with_mapped_labels

__all__ = ["GROUP_COLUMNS", "training_rows"]

GROUP_COLUMNS = ("protein", "ensembl_id", "antibody", "cell_line", "plate", "well", "fov", "dataset")
"""Columns by which atlases are evaluated; what was seen of each is kept, and of the groups that a source names."""


def training_rows(
    store: Store,
    level: str,
    *,
    group: str,
    where: Sequence[str] = (),
    label_source: LabelSource = "inherited",
    map_labels: str | None = None,
) -> TrainingRows:
    """The images of a level that pass the filters and have a file, whether they have a vector or not.

    Args:
        store: The atlas.
        level: "fov" or "cell".
        group: Column whose values will not be split.
        where: Filters.
        label_source: Whose localizations count.
        map_labels: Map that brings them into one vocabulary.

    Raises:
        UnknownNameError: If there is no such column, source or map.
        InputError: If there are no images, or none has a value of the group.
    """
    table = image_table(level)
    columns = [c for c in image_schema("fov" if level == "fov" else "cell").names if c not in NOT_READ or c == "root"]
    images = store.read(table, columns)
    if not len(images):
        message = f"{store.folder.path}: no images at level {level}"
        raise InputError(message)
    spread = {pair["name"] for pairs in images["groups"].to_pylist() for pair in pairs}
    view = View.build(level, images["id"], np.empty((len(images), 0), dtype=np.float32), images)
    view = with_label_source(view, label_source)
    if map_labels is not None:
        view = with_mapped_labels(view, map_labels)
    passing = allowed_rows(view, where)
    names = {name.removeprefix("group_"): name for name in (*GROUP_COLUMNS, *sorted(spread), group)}
    rows = TrainingRows(
        level=level,
        ids=view.ids,
        datasets=view.column("dataset"),
        labels=view.localizations,
        columns={plain: _names(view, name) for plain, name in names.items()},
        notes=(*label_notes(view, label_source), *mixed_vocabularies(view, passing)),
    )
    if passing is not None:
        rows = rows.take(passing, "filtered out")
    has_file = pc.is_valid(images["root"]).to_numpy(zero_copy_only=False)
    rows = rows.take(has_file if passing is None else has_file[passing], "no image file (imported vectors)")
    if all(not name for name in rows.columns[group.removeprefix("group_")]):
        message = (
            f"group {group!r} is unknown for all {len(rows.ids)} images; groups that are known: {known_groups(view)}; "
            "--group names one"
        )
        raise InputError(message)
    return rows


def _names(view: View, column: str) -> list[str | None]:
    """A group's column; all None where the level has no such column and nobody asked for it."""
    try:
        return view.names(column)
    except UnknownNameError:
        if column not in GROUP_COLUMNS:
            raise
        return [None] * len(view)
