"""Nearest neighbors of query vectors among the rows of a view, with exclusions and filters. Pure, given the view."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.asking.view import View
from locatlas.query.search.exact import prepare, search
from locatlas.query.search.exclude import Exclusion
from locatlas.query.search.refine import rank_rows
from locatlas.types import Neighbors

__all__ = ["EXACT_ABOVE_K", "STEPS", "CandidateIndex", "Queries", "look_up"]

STEPS = ("none", "self", "fov", "protein")
"""What a query must not meet; each includes those before it. Any other word names a column: self and its equals."""

EXACT_BELOW_SELECTIVITY = 0.05
"""Below this share of rows allowed, an index loses recall silently while a scan of the few is fast: scan."""


EXACT_ABOVE_K = 100
"""Recall is told of ten neighbors and stays near that up to so many; of more, an index finds fewer and fewer."""

EXACT_FROM_QUERIES = 128
"""Above so many queries one matrix product is about as fast as an index asked one by one: scripts/bench/lookup.py."""


FEW_QUERIES = 4
"""Up to so many queries among few rows are answered one by one; more share one copy of these rows."""


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
        rows: The queries as rows of a view, None where they are none.
        made_of: Rows of a view that the one query was made of: the images of a protein, or those whose file is the
            new image. Excluded is what any of them excludes.
    """

    names: list[str]
    vectors: NDArray[np.float32]
    localizations: list[frozenset[str]]
    rows: View | None = None
    made_of: View | None = None

    @classmethod
    def from_rows(cls, view: View, rows: NDArray[np.int64]) -> "Queries":
        """Rows of a view as queries."""
        part = view.take(rows)
        return cls(part.ids, part.vectors, part.localizations, rows=part)

    def column(self, name: str) -> list[Any]:
        """One value a query, None where it is not known or not one."""
        if self.made_of is not None and len(values := set(self.made_of.column(name))) == 1:
            return [values.pop()]
        return self.rows.column(name) if self.rows is not None else [None] * len(self.names)


def _columns(view: View, exclude: str) -> list[str]:
    """The columns in which a query and its neighbors must differ."""
    columns = ["id", "fov", "protein"][: STEPS.index(exclude)] if exclude in STEPS else ["id", "fov", exclude]
    return [c for c in columns if c != "fov"] if view.level == "protein" else columns


def _exclusions(queries: Queries, view: View, exclude: str) -> list[Exclusion]:
    """Codes of what must not meet, where the queries are rows of a view.

    Raises:
        InputError: If a column was named and is unknown for a query: its equals could not be excluded.
    """
    exclusions = []
    for column in _columns(view, exclude):
        coding = view.coded(column)
        names = queries.column(column)
        if exclude not in STEPS and column == exclude and None in names:
            message = f"{column} of {queries.names[names.index(None)]} is unknown, so its equals cannot be excluded"
            raise InputError(message)
        # a name that no reference has excludes nothing
        exclusions.append((coding.codes(names), coding.of_row))
    return exclusions


def _may_meet(made_of: View, view: View, exclude: str) -> NDArray[np.bool_]:
    """Rows of the view that share nothing excluded with any row that the query was made of."""
    may = np.ones(len(view), dtype=np.bool_)
    for column in _columns(view, exclude):
        coding = view.coded(column)
        # a row of the proteins' view is named by the protein
        source = "protein" if view.level == "protein" and column == "id" else column
        mine = coding.codes(sorted({name for name in made_of.column(source) if name is not None}))
        may &= ~np.isin(coding.of_row, mine[mine >= 0])
    return may


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
        InputError: If k < 1, the vectors have different lengths, or an excluded column is unknown for a query.
    """
    if queries.made_of is not None:
        may, exclusions = _may_meet(queries.made_of, view, exclude), []
        allowed = may if allowed is None else allowed & may
    else:
        exclusions = _exclusions(queries, view, exclude)
    n_allowed = len(view) if allowed is None else int(np.count_nonzero(allowed))
    selective = n_allowed < EXACT_BELOW_SELECTIVITY * len(view)
    # what cannot be answered is refused by the search that follows
    fits = k >= 1 and queries.vectors.shape[1] == view.vectors.shape[1]
    unusable = not fits or k > EXACT_ABOVE_K or not queries.names
    if allowed is not None and selective and fits and 0 < len(queries.names) <= FEW_QUERIES:
        rows = np.flatnonzero(allowed)
        return _joined([_among(q, i, view, rows, k, exclusions) for i, q in enumerate(queries.vectors)]), True
    if index is None or selective or unusable or len(queries.names) > EXACT_FROM_QUERIES:
        return search(queries.vectors, view.prepared, k=k, exclude=exclusions, allowed=allowed), True
    found = [_by_index(queries.vectors[i], i, view, index, k, exclusions, allowed) for i in range(len(queries.names))]
    return _joined(found), False


def _joined(found: Sequence[Neighbors]) -> Neighbors:
    return Neighbors(np.concatenate([f.indices for f in found]), np.concatenate([f.similarities for f in found]))


def _among(
    query: NDArray[np.float32],
    i: int,
    view: View,
    rows: NDArray[np.int64],
    k: int,
    exclusions: Sequence[Exclusion],
) -> Neighbors:
    """The nearest of some rows, which are looked at where they lie: a copy of them would take longer."""
    for mine, theirs in exclusions:
        if mine[i] >= 0:
            rows = rows[theirs[rows] != mine[i]]
    return rank_rows(prepare(query[None], "queries"), view.prepared, rows, k=k)


def _by_index(
    query: NDArray[np.float32],
    i: int,
    view: View,
    index: CandidateIndex,
    k: int,
    exclusions: Sequence[Exclusion],
    allowed: NDArray[np.bool_] | None,
) -> Neighbors:
    asked, held = prepare(query[None], "queries"), view.prepared
    # codes do not tell that a zero vector has no direction
    may = allowed if held.all_directed else (held.lengths > 0) & (True if allowed is None else allowed)
    for mine, theirs in exclusions:
        if mine[i] >= 0:
            may = theirs != mine[i] if may is None else may & (theirs != mine[i])
    rows = index.candidates(query, k, may)
    return rank_rows(asked, held, rows, k=k)
