"""How many of the exact nearest an index finds for a question as it is asked, and how thoroughly it must search. Pure.

A question leaves out the query's own protein, whose images are its very nearest and fill the lists that are looked at
first. An index that finds itself and its like may still miss the others, so recall is measured among those.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.indices.candidates import find_candidates
from locatlas.indexer.indices.kinds import Kind, ladder
from locatlas.indexer.indices.unit import unit_vectors

__all__ = ["RECALL_WANTED", "Truth", "measure_recall", "truth_of", "tuned"]

RECALL_WANTED = 0.995
"""An index searches as thoroughly as this takes, or as thoroughly as it can."""

_QUERIES = 200
_K = 10
_ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The exact answers of some rows of a table.

    Attributes:
        rows: Who asks (n,), int64.
        unit: Their unit vectors, float32 (n, d).
        groups: Code of each row of the table, int64; a query meets none of its own code, -1 meets all. None: no groups.
        directed: Rows of the table that may be found at all: zero vectors may not.
        k: Neighbors of each query that exist, up to ten, int64 (n,), >= 1.
        kth: Similarity of the last of them.
    """

    rows: NDArray[np.int64]
    unit: NDArray[np.float32]
    groups: NDArray[np.int64] | None
    directed: NDArray[np.bool_]
    k: NDArray[np.int64]
    kth: NDArray[np.float32]

    def allowed(self, number: int) -> NDArray[np.bool_]:
        """Rows of the table that a query may meet."""
        row, may = self.rows[number], self.directed.copy()
        if self.groups is not None and self.groups[row] >= 0:
            may &= self.groups != self.groups[row]
        may[row] = False
        return may


def truth_of(vectors: NDArray[np.float32], groups: NDArray[np.int64] | None, *, seed: int) -> Truth:
    """The exact ten nearest of up to 200 sampled rows, themselves and their group left out.

    Args:
        vectors: (n, d) of any length.
        groups: Code of each row, e.g. of its protein; -1 where it has none.
        seed: Of the sample.
    """
    directed = np.zeros(len(vectors), dtype=np.bool_)
    for low in range(0, len(vectors), _ROWS_AT_ONCE):
        directed[low : low + _ROWS_AT_ONCE] = vectors[low : low + _ROWS_AT_ONCE].any(axis=1)
    sample = np.random.default_rng(seed).permutation(np.flatnonzero(directed))[:_QUERIES]
    unit = unit_vectors(vectors[sample])
    best = np.full((len(sample), _K), -np.inf, dtype=np.float32)
    for low in range(0, len(vectors), _ROWS_AT_ONCE):
        part = slice(low, low + _ROWS_AT_ONCE)
        sims = unit @ unit_vectors(vectors[part]).T
        sims[:, ~directed[part]] = -np.inf
        here = np.flatnonzero((sample >= low) & (sample < low + sims.shape[1]))
        sims[here, sample[here] - low] = -np.inf
        if groups is not None:
            mine = groups[sample][:, None]
            sims[(mine == groups[part][None]) & (mine >= 0)] = -np.inf
        if sims.shape[1] > _K:
            sims = np.partition(sims, sims.shape[1] - _K, axis=1)[:, -_K:]
        best = -np.sort(-np.concatenate([best, sims], axis=1), axis=1)[:, :_K]
    k = np.isfinite(best).sum(axis=1)
    asks = np.flatnonzero(k > 0)
    return Truth(sample[asks], unit[asks], groups, directed, k[asks], best[asks, k[asks] - 1])


def measure_recall(index: Any, kind: Kind, params: dict[str, int], vectors: NDArray[np.float32], truth: Truth) -> float:
    """Share of the exact ten nearest that an index proposes, in [0, 1]; 1 where nothing can be met.

    Args:
        index: Trained and filled with the vectors.
        kind: Of the index.
        params: Of search.
        vectors: (n, d) of any length.
        truth: Of these vectors.
    """
    hits = 0
    for number, (query, k, kth) in enumerate(zip(truth.unit, truth.k, truth.kth, strict=True)):
        found = find_candidates(index, kind, params, query[None], int(k), truth.allowed(number))[0]
        # by similarity, not by id: equal vectors must not lower recall
        near = unit_vectors(vectors[found[found >= 0]]) @ query
        hits += min(int(k), int(np.count_nonzero(near >= kth - 1e-6)))
    return hits / int(truth.k.sum()) if len(truth.k) else 1.0


def tuned(index: Any, kind: Kind, params: dict[str, int], vectors: NDArray[np.float32], truth: Truth) -> dict[str, int]:
    """The quickest parameters of search that reach `RECALL_WANTED`, else the most thorough.

    What they reach is to be told from other rows: those by which they were chosen flatter them.
    """
    steps: Iterable[dict[str, int]] = ladder(kind, params)
    for params in steps:
        if measure_recall(index, kind, params, vectors, truth) >= RECALL_WANTED:
            break
    return params
