"""Vectors with their metadata in one order: what queries look at. Pure, given the tables."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store.aligned import rows_in
from locatlas.indexer.store.arrow_numbers import as_arrow
from locatlas.query.asking.label_sets import label_sets
from locatlas.query.search.coding import Coding
from locatlas.query.search.unit import Prepared, prepare

__all__ = ["NOT_READ", "View"]

NOT_READ = frozenset(
    {"thumbnail", "region", "source_stat", "sources", "root", "row", "mask", "nucleus_mask", "cells_digest"}
)
"""Columns of the image tables that no query needs; some are large."""

_NEVER_HIDDEN = frozenset({"annotated", "annotated_by"})
"""Columns that keep their name even where they are empty: votes rest on them."""

_KEPT_MASKS = 16


def _called(name: str) -> tuple[str, str, str]:
    """The columns that a name may mean, the first that is there."""
    return name, f"group_{name}", name.removeprefix("group_")


def _spread(pairs: pa.ChunkedArray, taken: set[str], prefix: str) -> dict[str, pa.Array]:
    """A column of lists of (name, value) as a column of text for each name; a name that is taken gets the prefix.

    Where a row says a name twice, the later counts.
    """
    n = len(pairs)
    lists = pairs.combine_chunks()
    row = pc.list_parent_indices(lists).to_numpy()
    said = pc.list_flatten(lists)
    names, values = (said.field(part) for part in ("name", "value"))
    columns: dict[str, pa.Array] = {}
    for name in pc.unique(names).to_pylist():
        at = np.flatnonzero(pc.equal(names, name).to_numpy(zero_copy_only=False))
        place = np.full(n, -1, dtype=np.int64)
        place[row[at]] = at
        column = values.take(pa.array(place, mask=place < 0))
        called = name if name not in taken else f"{prefix}{name}"
        columns[called] = pc.coalesce(column, columns[called]) if called in columns else column
    return columns


@dataclass(frozen=True, eq=False)
class View:
    """All embedded images (or proteins) of one level by one encoder, sorted by id.

    Attributes:
        level: "fov", "cell" or "protein".
        meta: One row each: id, dataset, protein, localizations, ... and the groups and metadata of the source as
            columns of their own.
        vectors: (n, d) float32, row i belongs to row i of `meta`.
        norms: Their Euclidean norms, float64 (n,), where they are known already.
        origin: View of the same rows and vectors, of which this one has some columns otherwise (`with_columns`).
        own: Columns that differ from those of `origin`.
        codings: Columns that are coded already.
    """

    level: str
    meta: pa.Table
    vectors: NDArray[np.float32]
    norms: NDArray[np.float64] | None = None
    origin: "View | None" = None
    own: frozenset[str] = frozenset()
    codings: Mapping[str, Coding] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        level: str,
        ids: Sequence[str] | pa.Array | pa.ChunkedArray,
        vectors: NDArray[np.float32],
        images: pa.Table,
        norms: NDArray[np.float64] | None = None,
    ) -> Self:
        """Join vectors and image rows by id.

        Args:
            level: "fov" or "cell".
            ids: (n,) ascending.
            vectors: (n, d).
            images: Rows of the image table, sorted by id; may hold rows without a vector.
            norms: (n,) of the vectors, where they are known.

        Raises:
            KeyError: If a vector has no image row.
        """
        names = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
        place = rows_in(names, images["id"])
        if (place < 0).any():
            raise KeyError(names[int(np.argmin(place))].as_py())
        meta = images if np.array_equal(place, np.arange(len(images))) else images.take(pa.array(place))
        fov = meta["fov_id"] if level == "cell" else meta["id"]
        groups, metadata = meta["groups"], meta["metadata"]
        meta = meta.drop_columns(["groups", "metadata", *(["fov_id"] if level == "cell" else [])])
        columns = {name: meta[name] for name in meta.column_names} | {"fov": fov}
        # a column of the table that the source left empty must not hide a group of the same name
        taken = {name for name, values in columns.items() if values.null_count < len(values) or not len(values)}
        taken |= _NEVER_HIDDEN & columns.keys()
        for prefix, rows in (("group_", groups), ("metadata_", metadata)):
            for name, values in sorted(_spread(rows, taken, prefix).items()):
                columns[name] = pa.chunked_array([values])
            taken |= set(columns)
        return cls(level, pa.table(columns), vectors, norms)

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def ids(self) -> list[str]:
        """Ids, ascending."""
        if self.origin is not None and "id" not in self.own:
            return self.origin.ids
        return list(self.meta["id"].to_pylist())

    @cached_property
    def prepared(self) -> Prepared:
        """The vectors, checked and measured once for many searches."""
        if self.origin is not None:
            return self.origin.prepared
        return prepare(self.vectors) if self.norms is None else Prepared(self.vectors, self.norms)

    @cached_property
    def _codings(self) -> dict[str, Coding]:
        return dict(self.codings)

    @cached_property
    def _masks(self) -> dict[Hashable, NDArray[np.bool_]]:
        return {}

    def kept_mask(self, key: Hashable, make: Callable[[], NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Rows of which something holds, bool (n,), read-only; the last few are kept: a program asks the same often.

        Args:
            key: What holds.
            make: Finds them.
        """
        mask = self._masks.pop(key, None)
        if mask is None:
            mask = make()
            mask.flags.writeable = False
        self._masks[key] = mask  # the last one used is the last one dropped
        for old in list(self._masks)[:-_KEPT_MASKS]:
            self._masks.pop(old, None)  # another thread may have
        return mask

    def coded(self, column: str) -> Coding:
        """A group's names as integers, kept for many searches.

        Raises:
            UnknownNameError: If there is no such column.
            InputError: If it is no group.
        """
        if self.origin is not None and self.own.isdisjoint(_called(column)):
            return self.origin.coded(column)
        if column not in self._codings:
            self._codings[column] = Coding.of(self._group(column))
        return self._codings[column]

    @cached_property
    def localizations(self) -> list[frozenset[str]]:
        """Annotated localizations of each row; empty where there are none."""
        return label_sets(self.meta["localizations"])

    def column(self, name: str) -> list[Any]:
        """One value a row, None where unknown. `group_<name>` of a manifest goes by `<name>`, too.

        Raises:
            UnknownNameError: If there is no such column.
        """
        return list(self._column(name).to_pylist())

    def _column(self, name: str) -> pa.ChunkedArray:
        for candidate in _called(name):
            if candidate in self.meta.column_names:
                return self.meta[candidate]
        raise UnknownNameError("column", name, self.meta.column_names)

    def names(self, column: str) -> list[str | None]:
        """A column that can be a group: text, None where unknown.

        Raises:
            UnknownNameError: If there is no such column.
            InputError: If it holds lists or numbers.
        """
        return list(self._group(column).to_pylist())

    def has(self, column: str, name: str) -> bool:
        """Whether a column of names has this one.

        Raises:
            UnknownNameError: If there is no such column.
            InputError: If it holds lists or numbers.
        """
        return bool(pc.index(self._group(column), pa.scalar(name, pa.string())).as_py() >= 0)

    def _group(self, column: str) -> pa.ChunkedArray:
        values = self._column(column)
        if not pa.types.is_string(values.type) and values.null_count < len(values):
            wrong = values.drop_null()[0].as_py()
            message = f"column {column!r} holds {type(wrong).__name__} values; a group needs names"
            raise InputError(message)
        if not pa.types.is_string(values.type):  # whatever it would hold, it holds nothing
            return pa.chunked_array([pa.nulls(len(values), pa.string())])
        return values

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Some of the rows."""
        norms = None if self.norms is None else self.norms[rows]
        return type(self)(self.level, self.meta.take(as_arrow(rows)), self.vectors[rows], norms)

    def with_columns(self, columns: Mapping[str, pa.Array]) -> Self:
        """The same rows and vectors with these columns in place of those of their names.

        What is known of vectors and other columns (ids, norms, codings) is shared with this view, not made again.
        """
        meta = pa.table({name: columns.get(name, self.meta[name]) for name in self.meta.column_names})
        return type(self)(self.level, meta, self.vectors, self.norms, self, frozenset(columns))
