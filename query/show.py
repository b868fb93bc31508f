"""Answers of an atlas as a notebook shows them, with pictures. Reads the store."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.errors import InputError
from locatlas.indexer.store import encoders
from locatlas.indexer.store.maps import map_rows
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.query.answers.tables import context
from locatlas.query.html_table import Picture, Pictures, html_table

__all__ = ["ShownAnswer", "atlas_html", "show"]

LIMIT = 50
"""Rows that are shown: each has a picture of some kilobytes, which stays in the notebook."""

VOTERS = 8
"""Neighbors that are shown of a classified image."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownAnswer:
    """An answer that shows itself in a notebook; the answer itself is `table`.

    Attributes:
        table: As it was given.
        html: What a notebook shows.
    """

    table: pa.Table
    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"ShownAnswer of {self.table.num_rows} rows: {', '.join(self.table.column_names)}"


def show(store: Store, table: pa.Table, *, limit: int = LIMIT) -> ShownAnswer:
    """An answer with thumbnails.

    Args:
        store: The atlas that gave it.
        table: Of `neighbors` or `classify`.
        limit: Rows that are shown.

    Raises:
        InputError: If the table is no answer of `neighbors` or `classify`, or limit < 1.
    """
    if b"locatlas" not in (table.schema.metadata or {}) or "id" not in table.column_names:
        message = "show takes what `neighbors` or `classify` returned: a table with ids that says what it answers"
        raise InputError(message)
    if limit < 1:
        message = f"limit = {limit}: at least 1 row needed"
        raise InputError(message)
    said, rows = context(table), table.slice(0, limit).to_pylist()
    level = said.get("by") or said["level"]
    of = (said.get("profile") or {}).get("of") or said["level"]
    shown = [row.get("medoid") or row["id"] for row in rows]
    voters = [row.get("neighbors", [])[:VOTERS] for row in rows]
    if "heterogeneity" in table.column_names:
        pictures: dict[str, bytes] = {}  # units: fields or proteins, of many cells each
    else:
        pictures = _pictures(store, level, of, [*shown, *(name for names in voters for name in names)])
    notes = list(said.get("notes", ()))
    if table.num_rows > len(rows):
        notes.append(f"first {len(rows)} of {table.num_rows} rows")
    if level == "protein" and pictures:
        notes.append("a protein is shown by its medoid where it has one, else by the first of its images")
    columns = [name for name in _SHOWN if name in table.column_names and table[name].null_count < len(table)]
    heads = ["", *columns, *(["voted"] if any(voters) and pictures else [])]
    body = []
    for row, name, names in zip(rows, shown, voters, strict=True):
        cells = [Picture(pictures.get(name), str(name)), *(_value(row[column]) for column in columns)]
        if len(heads) > len(cells):
            cells.append(Pictures(tuple(Picture(pictures.get(one), one) for one in names)))
        body.append(cells)
    return ShownAnswer(table, html_table(_title(said), heads, body, notes))


_SHOWN = (
    "rank", "id", "protein", "similarity", "localizations", "dataset", "n_cells", "annotated", "predicted",
    "heterogeneity",
)  # fmt: skip


def _value(value: Any) -> Any:
    """Scored localizations as "name 0.62"."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [f"{one['localization']} {one['score']:.2f}" for one in value]
    return value


def _title(said: dict[str, Any]) -> str:
    query = said.get("query") or {}
    asked = ", ".join(f"{name} {value}" for name, value in query.items() if value not in (None, [], ()))
    parts = [asked, f"level {said['level']}", said["encoder"]["name"]]
    parts += [f"excluded: {said['exclude']}"] if "exclude" in said else []
    return "; ".join(filter(None, parts))


def _pictures(store: Store, level: str, of: str, names: Iterable[str]) -> dict[str, bytes]:
    """Stored thumbnails by image id, or at level protein by protein, unless an image was named."""
    wanted = sorted(set(names))
    if level != "protein":
        return _by_id(store, level, wanted)
    table = image_table(of)
    held = store.read(table, ["id", "protein"])
    held = held.filter(pc.is_in(held["protein"], value_set=pa.array(wanted, pa.string())))
    first: dict[str, str] = {}
    for image, protein in zip(held["id"].to_pylist(), held["protein"].to_pylist(), strict=True):
        first.setdefault(protein, image)
    found = _by_id(store, of, sorted({*wanted, *first.values()}))
    return found | {protein: found[image] for protein, image in first.items() if image in found}


def _by_id(store: Store, level: str, ids: list[str]) -> dict[str, bytes]:
    if not store.has(image_table(level)):
        return {}
    rows = store.read_rows(image_table(level), ids, ["id", "thumbnail"]).to_pylist()
    return {row["id"]: row["thumbnail"] for row in rows if row["thumbnail"] is not None}


def atlas_html(store: Store) -> str:
    """What an atlas holds, in a few lines; counts come from the tables' own records, so that it takes no time."""
    counts = ", ".join(f"{store.count(table)} {word}" for table, word in (("fovs", "FOVs"), ("cells", "cells")))
    title = f"Atlas {store.folder.path}: {counts}"
    known = encoders.stored_encoders(store)
    rows = [
        (e.level, e.spec.name, e.fingerprint[:12], e.state, e.spec.dim, store.count(e.table))
        for e in known
        if e.state != "superseded"
    ]
    maps = [f"map: {row['method']} at level {row['level']} by {row['encoder']}" for row in map_rows(store)]
    if before := len(known) - len(rows):
        maps.append(f"superseded encoders: {before}; `status` has them")
    return html_table(title, ("level", "encoder", "fingerprint", "state", "numbers", "vectors"), rows, maps)
