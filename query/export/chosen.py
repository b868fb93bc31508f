"""What is exported: the rows of a level that pass the filters, with vectors, metadata and where they are from."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.store.aligned import rows_in
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.ledger import versions
from locatlas.query.asking.scope import Scope, look
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from locatlas.query.map.stored import MapPoints, unit_digests
from locatlas.query.search.within import search_within
from locatlas.types import Neighbors

__all__ = ["SEPARATOR", "Chosen", "choose", "flat_columns", "neighbors_within", "on_map"]

SEPARATOR = ";"
"""Between the names of a list, where a format has no lists."""

_UNKNOWN_IF_EMPTY = frozenset({"localizations"})
"""Lists that are empty where nobody said anything; an empty `annotated` says that a cell is in none."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What is exported.

    Attributes:
        shelf: What is loaded.
        scope: As it was asked for.
        view: The rows, sorted by id.
        encoder: Whose vectors they are.
        of: Level of the images that proteins are made of; None at image levels.
        notes: What a reader must know.
    """

    shelf: Shelf
    scope: Scope
    view: View
    encoder: StoredEncoder
    of: str | None
    notes: list[str]

    def origin(self) -> dict[str, Any]:
        """Where the vectors are from, JSON-ready; written into every file."""
        return {
            "level": self.view.level,
            "of": self.of,
            "encoder": self.encoder.spec.name,
            "fingerprint": self.encoder.fingerprint,
            "spec": json.loads(self.encoder.spec.to_json()),
            "rows": len(self.view),
            "dim": int(self.view.vectors.shape[1]),
            "metric": "cosine",
            "versions": versions(),
        }


def choose(shelf: Shelf, scope: Scope) -> Chosen:
    """The rows to export.

    Raises:
        UnknownNameError: If there is no such level, encoder or column.
        InputError: If nothing passes the filters, or the level has no rows.
    """
    seen = look(shelf, scope, Subject())
    view = seen.view if seen.allowed is None else seen.view.take(np.flatnonzero(seen.allowed))
    if not len(view):
        message = f"{shelf.store.folder.path}: nothing to export at level {view.level}"
        raise InputError(message)
    of = seen.loaded.view.level if view.level == "protein" else None
    return Chosen(shelf, scope, view, seen.loaded.encoder, of, seen.notes())


def neighbors_within(view: View, k: int) -> Neighbors:
    """The k exact nearest other rows of each row; fewer where there are fewer, none for a vector without direction.

    Raises:
        InputError: If k < 1.
    """
    if k < 1:
        message = f"k = {k}: at least 1 neighbor needed"
        raise InputError(message)
    n = len(view)
    if n == 1:
        return Neighbors(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    return search_within(view.prepared, k=min(k, n - 1), exclude=[np.arange(n)])


def flat_columns(view: View) -> dict[str, pa.Array]:
    """Metadata as columns of text, numbers and booleans, by name; those that say nothing of any row are left out.

    Lists of names are joined by `SEPARATOR`; grades stand as "name:grade"; an image without localizations or grades has
    null there. Boxes and centroids become a column a number; packed masks are left out.
    """
    found: dict[str, pa.Array] = {}
    for name in view.meta.column_names:
        column = view.meta[name].combine_chunks()
        kind = column.type
        if pa.types.is_binary(kind):
            continue
        if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
            found[name] = _joined([_graded(row) for row in column.to_pylist()])
        elif pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
            found[name] = _named(column) if name in _UNKNOWN_IF_EMPTY else pc.binary_join(column, SEPARATOR)
        elif pa.types.is_list(kind):
            parts = ("top", "left", "bottom", "right") if name == "box" else ("y", "x")
            numbers = _numbers(column, len(parts))
            found |= {f"{name}_{part}": pa.array(numbers[:, i], from_pandas=True) for i, part in enumerate(parts)}
        else:
            found[name] = column
    return {name: column for name, column in found.items() if name in ("id", "localizations") or _says(column)}


def _named(column: pa.Array) -> pa.Array:
    """Joined names, null where there are none: as a text, "" would be one more class, which all of these share."""
    empty = pc.equal(pc.fill_null(pc.list_value_length(column), 0), 0)
    return pc.if_else(empty, pa.scalar(None, pa.string()), pc.binary_join(column, SEPARATOR))


def _says(column: pa.Array) -> bool:
    """Whether any row has a value, and a text that is not empty."""
    if pa.types.is_string(column.type):
        return bool(pc.any(pc.greater(pc.utf8_length(column), 0)).as_py())
    return column.null_count < len(column)


def _graded(row: list[dict[str, Any]] | None) -> str | None:
    return None if not row else SEPARATOR.join(f"{one['localization']}:{one['grade']}" for one in row)


def _joined(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.string())


def _numbers(column: pa.Array, n: int) -> NDArray[np.float64]:
    """Lists of n numbers as rows; NaN where there is none."""
    rows = [row if row is not None and len(row) == n else [np.nan] * n for row in column.to_pylist()]
    return np.array(rows, dtype=np.float64).reshape(len(column), n)


def on_map(chosen: Chosen, points: MapPoints) -> NDArray[np.int64]:
    """Where each row stands among the points of a map, (n,); -1 where it does not, or has another vector now."""
    now = unit_digests(chosen.view.prepared)
    rows = rows_in(chosen.view.meta["id"], pa.array(points.ids, pa.string()))
    return np.where((rows >= 0) & (points.vectors[rows] == now), rows, -1)
