"""Nearest neighbors of query vectors among the rows of a view, with exclusions and filters. Pure, given the view."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from locatlas.query.exact import search
from locatlas.query.exclude import Exclusion
from locatlas.query.view import View
from locatlas.types import Neighbors

__all__ = ["STEPS", "CandidateIndex", "Queries", "look_up"]

STEPS = ("none", "self", "fov", "protein")
"""What a query must not meet; each includes those before it. Any other word names a column: self and its equals."""

EXACT_BELOW_SELECTIVITY = 0.05
"""Below this share of rows allowed, an index loses recall silently while a scan of the few is fast: scan."""


class CandidateIndex(Protocol):
    """An approximate index: proposes rows, which are then ranked exactly."""

    def candidates(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Rows among which the k nearest to one query are sought."""


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """Who asks.

    Attributes:
        names: What each query is called: an id, a protein, a file.
        vectors: (n, d) float32.
        localizations: Annotated localizations of each.
        known: Columns that are known of queries that are no rows of a view, e.g. {"protein": [...]}.
        rows: The queries as rows of a view, None for a protein's mean or a new image.
    """

    names: list[str]
    vectors: NDArray[np.float32]
    localizations: list[frozenset[str]]
    known: dict[str, list[str | None]] = field(default_factory=dict)
    rows: View | None = None

    @classmethod
    def from_rows(cls, view: View, rows: NDArray[np.int64]) -> "Queries":
        """Rows of a view as queries."""
        part = view.take(rows)
        return cls(part.ids, part.vectors, part.localizations, rows=part)

    def column(self, name: str) -> list[Any]:
        """One value a query, None where it is not known."""
        if name in self.known:
            return self.known[name]
        return self.rows.column(name) if self.rows is not None else [None] * len(self.names)


def _exclusions(queries: Queries, view: View, exclude: str) -> list[Exclusion]:
    """Codes of what must not meet, by id and by the columns that `exclude` stands for."""
    columns = ["id", "fov", "protein"][: STEPS.index(exclude)] if exclude in STEPS else ["id", "fov", exclude]
    if view.level == "protein":
        columns = [c for c in columns if c != "fov"]
    exclusions = []
    for column in columns:
        known, codes = view.coded(column)
        # a name that no reference has excludes nothing
        asked = [known.get(name, -1) if name is not None else -1 for name in queries.column(column)]
        exclusions.append((np.array(asked, dtype=np.int64), codes))
    return exclusions


def look_up(
    queries: Queries,
    view: View,
    *,
    k: int,
    exclude: str,
    allowed: NDArray[np.bool_] | None = None,
    index: CandidateIndex | None = None,
) -> tuple[Neighbors, bool]:
    """The k nearest rows of the view to each query.

    Args:
        queries: Who asks.
        view: Who is searched.
        k: Wanted neighbors, >= 1; fewer are found where fewer remain.
        exclude: What a query must not meet: one of `STEPS`, or a column (itself, its FOV and its equals).
        allowed: (n,) rows that may be answers.
        index: Approximate index over the view's rows, or None to search exactly.

    Returns:
        Neighbors as rows of the view, and whether the search was exact. Similarities are exact in either case.

    Raises:
        UnknownNameError: If `exclude` is neither a step nor a column.
        InputError: If k < 1, or the vectors have different lengths.
    """
    exclusions = _exclusions(queries, view, exclude)
    selective = allowed is not None and allowed.mean() < EXACT_BELOW_SELECTIVITY
    if index is None or selective:
        return search(queries.vectors, view.prepared, k=k, exclude=exclusions, allowed=allowed), True
    found = [_by_index(queries.vectors[i], i, view, index, k, exclusions, allowed) for i in range(len(queries.names))]
    return Neighbors(np.concatenate([f.indices for f in found]), np.concatenate([f.similarities for f in found])), False


def _by_index(
    query: NDArray[np.float32],
    i: int,
    view: View,
    index: CandidateIndex,
    k: int,
    exclusions: Sequence[Exclusion],
    allowed: NDArray[np.bool_] | None,
) -> Neighbors:
    may = np.ones(len(view), dtype=np.bool_) if allowed is None else allowed.copy()
    for mine, theirs in exclusions:
        if mine[i] >= 0:
            may &= theirs != mine[i]
    rows = index.candidates(query, k, may)
    if not len(rows):
        return Neighbors(np.full((1, k), -1, np.int64), np.full((1, k), np.nan, np.float32))
    ranked = search(query[None], view.vectors[rows], k=k)
    there = ranked.indices >= 0
    return Neighbors(np.where(there, rows[np.maximum(ranked.indices, 0)], -1), ranked.similarities)
