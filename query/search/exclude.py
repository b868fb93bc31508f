"""Which references a query must not meet (itself, its FOV, its protein), by name and never by position. Pure."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError

__all__ = ["Exclusion", "ExclusionIndex", "encode_names", "in_order_of"]

Exclusion = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Codes of the queries (n_queries,) and of the references (n_references,): equal codes never meet; -1 meets all."""


def encode_names(
    query_names: Sequence[Hashable | None], reference_names: Sequence[Hashable | None] | None = None
) -> Exclusion:
    """Integer codes that are equal where names are equal.

    Args:
        query_names: One name a query, e.g. its protein; None (or "") belongs to no group.
        reference_names: One name a reference; None if the queries are the references.

    Returns:
        int64 codes (n_queries,) and (n_references,), -1 for no name. Codes carry no order: they count names as met.
    """
    codes: dict[Hashable, int] = {}

    def encode(names: Sequence[Hashable | None]) -> NDArray[np.int64]:
        found = (-1 if name is None or name == "" else codes.setdefault(name, len(codes)) for name in names)
        return np.fromiter(found, dtype=np.int64, count=len(names))

    queries = encode(query_names)
    return queries, queries if reference_names is None else encode(reference_names)


def in_order_of(codes: Sequence[NDArray[np.int64]], n: int) -> NDArray[np.int64]:
    """Rows in the order of their codes, those of the first before those of the next; as they are where sizes differ."""
    fits = codes and all(np.shape(one) == (n,) for one in codes)
    return np.lexsort(codes[::-1]) if fits else np.arange(n)


_FEW_CODES = 4
"""So many codes are compared with all references one by one; more are sought by bisection, once for each reference."""


@dataclass(frozen=True, slots=True, eq=False)
class ExclusionIndex:
    """Exclusions laid out so that the excluded pairs of any tile of the score matrix are found by bisection.

    Attributes:
        query_codes: One array (n_queries,) per exclusion.
        keys: Per exclusion the sorted `code * n_columns + column` of all references that have a code.
        n_columns: Columns of the score matrix.
    """

    query_codes: tuple[NDArray[np.int64], ...]
    keys: tuple[NDArray[np.int64], ...]
    n_columns: int

    @classmethod
    def build(
        cls, exclusions: Sequence[Exclusion], *, n_queries: int, n_references: int, columns: NDArray[np.int64] | None
    ) -> Self:
        """Index exclusions for the references at `columns` (None: all), in that order.

        Raises:
            InputError: If the codes are not one integer a query and one a reference.
        """
        n_columns = n_references if columns is None else len(columns)
        codes, keys = [], []
        for query_codes, reference_codes in exclusions:
            query = np.asarray(query_codes)
            reference = np.asarray(reference_codes)
            integers = {query.dtype.kind, reference.dtype.kind} <= set("iu")
            if query.shape != (n_queries,) or reference.shape != (n_references,) or not integers:
                message = (
                    f"exclusion codes of shape {query.shape} and {reference.shape}, dtype {query.dtype} and "
                    f"{reference.dtype}: one integer each for {n_queries} and {n_references} needed"
                )
                raise InputError(message)
            # codes may be any integers, so they are renumbered before they are multiplied
            known = np.unique(query[query >= 0])
            kept = reference if columns is None else reference[columns]
            if len(known) <= _FEW_CODES:
                found = [i * max(n_columns, 1) + np.flatnonzero(kept == code) for i, code in enumerate(known.tolist())]
                codes.append(np.where(query >= 0, np.searchsorted(known, query), -1).astype(np.int64))
                keys.append(np.concatenate([*found, np.empty(0, dtype=np.int64)]).astype(np.int64))
                continue
            kept = kept.astype(np.int64)
            place = np.searchsorted(known, kept)
            met = (kept >= 0) & (place < len(known))
            met[met] = known[place[met]] == kept[met]
            at = np.flatnonzero(met)
            codes.append(np.where(query >= 0, np.searchsorted(known, query), -1).astype(np.int64))
            keys.append(np.sort(place[at] * np.int64(max(n_columns, 1)) + at))
        return cls(tuple(codes), tuple(keys), n_columns)

    def pairs(self, rows: NDArray[np.int64], low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Excluded (row, column) pairs of the tile `rows` x [low, high), counted from the tile's corner."""
        tile_rows, tile_columns = [], []
        for query_codes, keys in zip(self.query_codes, self.keys, strict=True):
            codes = query_codes[rows]
            base = codes * max(self.n_columns, 1)
            start = np.searchsorted(keys, base + low)
            counts = np.where(codes >= 0, np.searchsorted(keys, base + high) - start, 0)
            row = np.repeat(np.arange(len(codes)), counts)
            within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            tile_rows.append(row)
            tile_columns.append(keys[start[row] + within] - base[row] - low)
        if not tile_rows:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        return np.concatenate(tile_rows), np.concatenate(tile_columns)

    def column_codes(self) -> tuple[NDArray[np.int64], ...]:
        """Per exclusion the code of each column, int64 (n_columns,), -2 for none: excluded pairs have equal codes."""
        found = []
        for keys in self.keys:
            codes = np.full(self.n_columns, -2, dtype=np.int64)
            codes[keys % max(self.n_columns, 1)] = keys // max(self.n_columns, 1)
            found.append(codes)
        return tuple(found)

    def of(self, rows: NDArray[np.int64]) -> Self:
        """The same exclusions for some of the queries."""
        return type(self)(tuple(codes[rows] for codes in self.query_codes), self.keys, self.n_columns)
