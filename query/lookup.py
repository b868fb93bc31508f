"""Nearest neighbors of query vectors among the rows of a view, with exclusions and filters. Pure, given the view."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.exact import search
from locatlas.query.exclude import Exclusion, encode_names
from locatlas.query.view import View
from locatlas.types import Neighbors

__all__ = ["CandidateIndex", "Exclude", "Queries", "look_up"]

Exclude = Literal["none", "self", "fov", "protein"]
"""What a query must not meet; each includes those before it."""

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
        ids: Image ids, None for what is not in the atlas or is no image.
        fovs: FOV of each, None where unknown.
        proteins: Protein of each, None where unknown.
        localizations: Annotated localizations of each.
    """

    names: list[str]
    vectors: NDArray[np.float32]
    ids: list[str | None]
    fovs: list[str | None]
    proteins: list[str | None]
    localizations: list[frozenset[str]]

    @classmethod
    def from_rows(cls, view: View, rows: NDArray[np.int64]) -> "Queries":
        """Rows of a view as queries."""
        part = view.take(rows)
        ids: list[str | None] = list(part.ids)
        fovs = part.column("fov") if view.level != "protein" else [None] * len(rows)
        return cls(part.ids, part.vectors, ids, fovs, part.column("protein"), part.localizations)


def _exclusions(queries: Queries, view: View, exclude: Exclude) -> list[Exclusion]:
    if exclude not in get_args(Exclude):
        message = f"exclude {exclude!r}; allowed: {', '.join(get_args(Exclude))}"
        raise InputError(message)
    steps = get_args(Exclude).index(exclude)
    wanted: list[tuple[Sequence[Any], Sequence[Any]]] = []
    if steps >= 1:
        wanted.append((queries.ids, view.ids))
    if steps >= 2 and view.level != "protein":
        wanted.append((queries.fovs, view.column("fov")))
    if steps >= 3:
        wanted.append((queries.proteins, view.column("protein")))
    return [encode_names(mine, theirs) for mine, theirs in wanted]


def look_up(
    queries: Queries,
    view: View,
    *,
    k: int,
    exclude: Exclude,
    allowed: NDArray[np.bool_] | None = None,
    index: CandidateIndex | None = None,
) -> tuple[Neighbors, bool]:
    """The k nearest rows of the view to each query.

    Args:
        queries: Who asks.
        view: Who is searched.
        k: Wanted neighbors, >= 1; fewer are found where fewer remain.
        exclude: What a query must not meet.
        allowed: (n,) rows that may be answers.
        index: Approximate index over the view's rows, or None to search exactly.

    Returns:
        Neighbors as rows of the view, and whether the search was exact. Similarities are exact in either case.

    Raises:
        InputError: If k < 1, or the vectors have different lengths.
    """
    exclusions = _exclusions(queries, view, exclude)
    selective = allowed is not None and allowed.mean() < EXACT_BELOW_SELECTIVITY
    if index is None or selective:
        return search(queries.vectors, view.vectors, k=k, exclude=exclusions, allowed=allowed), True
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
