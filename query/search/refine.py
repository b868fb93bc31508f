"""From float32 candidates to the float64 ranking: near ties are settled in float64, by (similarity, row). Pure."""

import numpy as np
from numpy.typing import NDArray

from locatlas.query.search.exclude import ExclusionIndex
from locatlas.query.search.tiles import IN_RANGE, Candidates
from locatlas.query.search.unit import Prepared
from locatlas.types import Neighbors

__all__ = ["EXTRA_CANDIDATES", "float32_margin", "rank_rows", "refine"]

EXTRA_CANDIDATES = 8
"""Candidates asked for beyond k, so that the cut at k is seldom a near tie with something unseen."""

_GATHER_ENTRIES = 1 << 18  # float64 numbers gathered at once (2 MiB): what fits a core's own cache
_ROWS_IN_CACHE = 256  # references gathered at once for one query
_ROWS_AT_ONCE = 64  # queries searched in float64 at once, against
_TILE = 4096  # references at a time
_MARGIN_64 = 1e-12  # far above the rounding of a float64 dot product of unit vectors, far below float32's


def float32_margin(dim: int) -> float:
    """Difference of two float32 cosine similarities below which float64 decides.

    Each of the d additions of a dot product rounds a partial sum of size <= 1 (Cauchy-Schwarz) by at most u = 2^-24.
    Taken as independent and uniform (the model of Higham and Mary 2019, SIAM J. Sci. Comput. 41(5), A2815), the
    difference of two sums has a standard deviation of at most u * sqrt(2 d / 3): 4 sqrt(d) u is 4.9 of them, and 8 u
    cover the rounding of the normalised factors. Partial sums are far below 1, so what is observed is a tenth of it.
    """
    return (4.0 * np.sqrt(dim) + 8.0) * 2.0**-24


def refine(
    candidates: Candidates,
    asked: Prepared,
    searched: Prepared,
    *,
    k: int,
    exclusions: ExclusionIndex,
    valid: NDArray[np.bool_],
) -> Neighbors:
    """The `k` nearest, ordered by float64 similarity, ties by row.

    Args:
        candidates: By float32, at least k + 1 wide unless they are all there are.
        asked: The queries.
        searched: The references.
        k: Neighbors wanted.
        exclusions: Built for all references in their own order, for rows that must be searched again.
        valid: References that may be found, bool (n_references,).
    """
    indices, coarse = candidates.indices, candidates.similarities
    margin = float32_margin(asked.dim)
    width = indices.shape[1]
    there = indices >= 0
    with np.errstate(invalid="ignore"):  # -inf minus -inf
        near = (coarse[:, :-1] - coarse[:, 1:] <= margin) & there[:, 1:]
    doubtful = np.zeros_like(there)
    doubtful[:, 1:] |= near
    doubtful[:, :-1] |= near
    doubtful[:, min(k + 1, width) :] &= coarse[:, min(k + 1, width) :] >= coarse[:, [min(k, width) - 1]] - 2 * margin
    fine = np.where(there, coarse, -np.inf).astype(np.float64)
    rows, places = np.nonzero(doubtful)
    fine[rows, places] = _similarities(asked, searched, rows, indices[rows, places])
    with np.errstate(invalid="ignore"):
        moved = np.flatnonzero((~(fine[:, :-1] > fine[:, 1:]) & there[:, 1:]).any(axis=1))
    if len(moved):
        order = _ranked(fine[moved], indices[moved])
        fine[moved] = np.take_along_axis(fine[moved], order, axis=1)
        indices = indices.copy()
        indices[moved] = np.take_along_axis(indices[moved], order, axis=1)
    out = _cut(indices, fine, k)
    # something unseen may belong before the k-th: the last candidate is within the margin of it
    n_valid = int(np.count_nonzero(valid))
    if width < n_valid:
        unsettled = np.flatnonzero(there[:, -1] & (fine[:, k - 1] <= coarse[:, -1] + margin))
        for low in range(0, len(unsettled), _ROWS_AT_ONCE):
            some = unsettled[low : low + _ROWS_AT_ONCE]
            again = _search_rows(asked, searched, some, k=k, exclusions=exclusions, valid=valid)
            out.indices[some], out.similarities[some] = again.indices, again.similarities
    return out


def rank_rows(
    query: Prepared,
    searched: Prepared,
    rows: NDArray[np.int64],
    *,
    k: int,
) -> Neighbors:
    """The `k` nearest among some references, by float64 similarity, ties by row.

    Args:
        query: One vector. Vectors of norm 0 are never found and find nothing.
        searched: The references.
        rows: Distinct references to rank.
        k: Neighbors wanted, >= 1.
    """
    rows = rows[searched.lengths[rows] > 0] if query.lengths[0] > 0 else rows[:0]
    if len(rows) > k:
        measured = searched.lengths[rows]
        if IN_RANGE[0] < measured.min() and measured.max() < IN_RANGE[1]:
            # those that float32 leaves a chance
            coarse = _products(searched, rows, query.unit(slice(None))[0]) / measured
            kth = np.partition(coarse, len(rows) - k)[len(rows) - k]
            rows = rows[coarse >= kth - 2 * float32_margin(query.dim)]
    similarities = _similarities(query, searched, np.zeros(len(rows), dtype=np.int64), rows)
    order = np.lexsort((rows, -similarities))[:k]
    return _cut(rows[None, order], similarities[None, order], k)


def _products(searched: Prepared, rows: NDArray[np.int64], unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float32 products of some references, as they are, with one vector, (n_rows,).

    Gathered a few at a time into the same memory, and without BLAS, which may wake a second thread for this little.
    """
    out = np.empty(len(rows), dtype=np.float32)
    held = np.empty((min(len(rows), _ROWS_IN_CACHE), searched.dim), dtype=np.float32)
    for low in range(0, len(rows), _ROWS_IN_CACHE):
        some = rows[low : low + _ROWS_IN_CACHE]
        part = held[: len(some)]
        # "clip", for rows that are all there: else `out` is filled by way of a copy
        np.take(searched.vectors, some if searched.rows is None else searched.rows[some], axis=0, out=part, mode="clip")
        np.einsum("nd,d->n", part, unit, out=out[low : low + len(some)])
    return out


def _ranked(similarities: NDArray[np.float64], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order of each row by (similarity descending, index ascending); missing places last."""
    by_index = np.argsort(np.where(indices >= 0, indices, np.iinfo(np.int64).max), axis=1, kind="stable")
    sorted_similarities = np.take_along_axis(similarities, by_index, axis=1)
    return np.take_along_axis(by_index, np.argsort(-sorted_similarities, axis=1, kind="stable"), axis=1)


def _cut(indices: NDArray[np.int64], similarities: NDArray[np.float64], k: int) -> Neighbors:
    """The first `k` places, missing ones as -1 and NaN, padded where there are fewer."""
    out = Neighbors(
        np.full((len(indices), k), -1, dtype=np.int64), np.full((len(indices), k), np.nan, dtype=np.float32)
    )
    kept = min(k, indices.shape[1])
    there = indices[:, :kept] >= 0
    out.indices[:, :kept] = indices[:, :kept]
    out.similarities[:, :kept] = similarities[:, :kept]
    np.clip(out.similarities, -1, 1, out=out.similarities)
    out.similarities[:, :kept][~there] = np.nan
    return out


def _similarities(
    asked: Prepared,
    searched: Prepared,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Float64 cosines of pairs. Summed row by row in one fixed order: equal vectors give equal numbers."""
    out = np.empty(len(rows), dtype=np.float64)
    step = max(1, _GATHER_ENTRIES // searched.dim)
    for low in range(0, len(rows), step):
        row, column = rows[low : low + step], columns[low : low + step]
        products = asked.raw(row).astype(np.float64)
        products *= searched.raw(column)
        out[low : low + step] = products.sum(axis=1) / (asked.lengths[row] * searched.lengths[column])
    return out


def _search_rows(
    asked: Prepared,
    searched: Prepared,
    rows: NDArray[np.int64],
    *,
    k: int,
    exclusions: ExclusionIndex,
    valid: NDArray[np.bool_],
) -> Neighbors:
    """Some queries against every reference in float64; needed where many references are equally near."""
    unit = asked.raw(rows) / asked.lengths[rows, None]
    scores = np.empty((len(rows), len(searched)), dtype=np.float64)
    for low in range(0, len(searched), _TILE):
        at = slice(low, low + _TILE)
        length = np.where(valid[at], searched.lengths[at], 1.0)
        np.matmul(unit, (searched.raw(at) / length[:, None]).T, out=scores[:, at])
    scores[:, ~valid] = -np.inf
    scores[exclusions.pairs(rows, 0, len(searched))] = -np.inf
    out = _cut(np.empty((len(rows), 0), dtype=np.int64), np.empty((len(rows), 0)), k)
    for place, (row, found) in enumerate(zip(rows, scores, strict=True)):
        n_found = int(np.count_nonzero(found > -np.inf))
        cut = np.partition(found, len(found) - k)[len(found) - k] if n_found > k else -2.0
        # the product's sums depend on the column's place in memory, so the last bits are settled pair by pair
        columns = np.flatnonzero(found >= cut - _MARGIN_64)
        similarities = _similarities(asked, searched, np.full(len(columns), row), columns)
        order = np.lexsort((columns, -similarities))[:k]
        best = _cut(columns[None, order], similarities[None, order], k)
        out.indices[place], out.similarities[place] = best.indices[0], best.similarities[0]
    return out
