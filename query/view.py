"""Vectors with their metadata in one order: what queries look at. Pure, given the tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.unit import Prepared, prepare

__all__ = ["NOT_READ", "View"]

NOT_READ = frozenset(
    {"thumbnail", "region", "source_stat", "sources", "root", "row", "mask", "nucleus_mask", "cells_digest"}
)
"""Columns of the image tables that no query needs; some are large."""

_NEVER_HIDDEN = frozenset({"annotated", "annotated_by"})
"""Columns that keep their name even where they are empty: votes rest on them."""


def _spread(rows: list[list[dict[str, str]]], taken: set[str], prefix: str) -> dict[str, list[str | None]]:
    """(name, value) pairs as columns; a name that is taken gets the prefix."""
    columns: dict[str, list[str | None]] = {}
    for i, pairs in enumerate(rows):
        for pair in pairs:
            name = pair["name"] if pair["name"] not in taken else f"{prefix}{pair['name']}"
            columns.setdefault(name, [None] * len(rows))[i] = pair["value"]
    return columns


@dataclass(frozen=True, eq=False)
class View:
    """All embedded images (or proteins) of one level by one encoder, sorted by id.

    Attributes:
        level: "fov", "cell" or "protein".
        meta: One row each: id, dataset, protein, localizations, ... and the groups and metadata of the source as
            columns of their own.
        vectors: (n, d) float32, row i belongs to row i of `meta`.
    """

    level: str
    meta: pa.Table
    vectors: NDArray[np.float32]

    @classmethod
    def build(cls, level: str, ids: Sequence[str], vectors: NDArray[np.float32], images: pa.Table) -> Self:
        """Join vectors and image rows by id.

        Args:
            level: "fov" or "cell".
            ids: (n,) ascending.
            vectors: (n, d).
            images: Rows of the image table, sorted by id; may hold rows without a vector.

        Raises:
            KeyError: If a vector has no image row.
        """
        place = {i: row for row, i in enumerate(images["id"].to_pylist())}
        meta = images.take(pa.array([place[i] for i in ids], pa.int64()))
        fov = meta["fov_id"] if level == "cell" else meta["id"]
        groups, metadata = meta["groups"].to_pylist(), meta["metadata"].to_pylist()
        meta = meta.drop_columns(["groups", "metadata", *(["fov_id"] if level == "cell" else [])])
        columns = {name: meta[name] for name in meta.column_names} | {"fov": fov}
        # a column of the table that the source left empty must not hide a group of the same name
        taken = {name for name, values in columns.items() if values.null_count < len(values) or not len(values)}
        taken |= _NEVER_HIDDEN & columns.keys()
        for prefix, rows in (("group_", groups), ("metadata_", metadata)):
            for name, values in sorted(_spread(rows, taken, prefix).items()):
                columns[name] = pa.chunked_array([pa.array(values, pa.string())])
            taken |= set(columns)
        return cls(level, pa.table(columns), vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def ids(self) -> list[str]:
        """Ids, ascending."""
        return list(self.meta["id"].to_pylist())

    @cached_property
    def prepared(self) -> Prepared:
        """The vectors, checked and measured once for many searches."""
        return prepare(self.vectors)

    @cached_property
    def _codes(self) -> dict[str, tuple[dict[str, int], NDArray[np.int64]]]:
        return {}

    def coded(self, column: str) -> tuple[dict[str, int], NDArray[np.int64]]:
        """A group's names as integers, kept for many searches: name to code, and the code of each row, -1 for none.

        Raises:
            UnknownNameError: If there is no such column.
            InputError: If it is no group.
        """
        if column not in self._codes:
            names = self.names(column)
            known = {name: code for code, name in enumerate(sorted({n for n in names if n is not None}))}
            codes = np.fromiter((-1 if n is None else known[n] for n in names), dtype=np.int64, count=len(names))
            self._codes[column] = (known, codes)
        return self._codes[column]

    @property
    def localizations(self) -> list[frozenset[str]]:
        """Annotated localizations of each row; empty where there are none."""
        return [frozenset(names or ()) for names in self.meta["localizations"].to_pylist()]

    def column(self, name: str) -> list[Any]:
        """One value a row, None where unknown. `group_<name>` of a manifest goes by `<name>`, too.

        Raises:
            UnknownNameError: If there is no such column.
        """
        for candidate in (name, f"group_{name}", name.removeprefix("group_")):
            if candidate in self.meta.column_names:
                return list(self.meta[candidate].to_pylist())
        raise UnknownNameError("column", name, self.meta.column_names)

    def names(self, column: str) -> list[str | None]:
        """A column that can be a group: text, None where unknown.

        Raises:
            UnknownNameError: If there is no such column.
            InputError: If it holds lists or numbers.
        """
        values = self.column(column)
        wrong = next((v for v in values if v is not None and not isinstance(v, str)), None)
        if wrong is not None:
            message = f"column {column!r} holds {type(wrong).__name__} values; a group needs names"
            raise InputError(message)
        return values

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Some of the rows."""
        return type(self)(self.level, self.meta.take(pa.array(rows)), self.vectors[rows])
