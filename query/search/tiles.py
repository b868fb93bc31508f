"""The nearest references by float32 matrix products, tile by tile, on the CPU. Pure; numpy only.

The score matrix never exists: a tile of it (<= 8 MiB) is made, excluded pairs are struck out in place, and what
beats the row's threshold moves to a short list. On CPUs the tile's size, not the multiplication, decides the speed.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from locatlas.query.search.exclude import ExclusionIndex
from locatlas.query.search.threads import one_blas_thread
from locatlas.query.search.unit import Prepared

__all__ = ["FEW", "IN_RANGE", "Candidates", "few_queries", "rank_of_threshold", "search_tiles"]

FEW = 64
"""Up to so many queries, one pass over the references without a copy of them."""

IN_RANGE = (1e-15, 1e15)
"""Norms whose products with unit vectors stay clear of float32's ends."""

_BLOCK = 512  # queries and
_TILE = 4096  # references of one tile: 8 MiB of float32 scores
_ONE_THREAD = 4  # up to so many queries, reading memory is what takes the time
_LIST_ENTRIES = 1 << 22  # places of the survivors' lists of one block (48 MiB)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The `width` best references of each query by float32 similarity.

    Attributes:
        indices: int64 (n_queries, width), nearest first, -1 where none.
        similarities: float32 (n_queries, width), -inf where none. Every reference that is not listed and not
            excluded is at most as similar as the last one listed, in float32.
    """

    indices: NDArray[np.int64]
    similarities: NDArray[np.float32]


@dataclass(slots=True)
class _Survivors:
    """Lists of what may be among the best, one row a query of the block."""

    width: int
    scores: NDArray[np.float32]
    columns: NDArray[np.int32]
    filled: NDArray[np.int64] = field(init=False)
    threshold: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.scores.fill(-np.inf)
        self.filled = np.zeros(len(self.scores), dtype=np.int64)
        self.threshold = np.full(len(self.scores), -np.inf, dtype=np.float32)

    def add(self, tile: NDArray[np.float32], low: int) -> None:
        """Take the tile's scores that beat their row's threshold; `low` is the tile's first column."""
        flat = np.flatnonzero(tile > self.threshold[:, None])
        rows = flat // tile.shape[1]
        counts = np.bincount(rows, minlength=len(tile))
        if int((self.filled + counts).max(initial=0)) > self.scores.shape[1]:
            self.shrink()
        place = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts) + self.filled[rows]
        self.scores[rows, place] = tile.ravel()[flat]
        self.columns[rows, place] = flat - rows * tile.shape[1] + low
        self.filled += counts

    def shrink(self) -> None:
        """Keep the best `width` of each list; full lists raise their row's threshold."""
        used = int(self.filled.max(initial=0))
        if used > self.width:
            best = np.argpartition(self.scores[:, :used], used - self.width, axis=1)[:, used - self.width :]
            rows = np.arange(len(self.scores))[:, None]
            if int(self.filled.min()) < self.width:  # what is there must lie at the front
                best = np.take_along_axis(best, np.argsort(-self.scores[rows, best], axis=1), axis=1)
            self.scores[:, : self.width], self.columns[:, : self.width] = (
                self.scores[rows, best],
                self.columns[rows, best],
            )
            self.scores[:, self.width : used] = -np.inf
            self.filled = np.minimum(self.filled, self.width)
        full = self.filled >= self.width
        self.threshold[full] = np.maximum(self.threshold[full], self.scores[full, : self.width].min(axis=1))


def rank_of_threshold(width: int, n_sample: int, n_references: int) -> int:
    """Rank in a random sample of references that lies below the `width`-th of all, but for about 1 row in 10^4.

    The best `width` put a binomial number of members into the sample; four standard deviations above its mean.
    """
    expected = width * n_sample / n_references
    return int(np.ceil(expected + 4 * np.sqrt(expected) + 3))


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """What one pass over the references needs."""

    queries: NDArray[np.float32]
    references: Prepared  # of which only the vectors count
    scale: NDArray[np.float32] | None  # 1 / norm of references that are not normalised
    struck: NDArray[np.bool_] | None  # columns that nobody may find
    exclusions: ExclusionIndex
    width: int

    def tile(self, rows: NDArray[np.int64], low: int, high: int) -> NDArray[np.float32]:
        tile = np.matmul(self.queries[rows], self.references.raw(slice(low, high)).T)
        if self.scale is not None:
            tile *= self.scale[low:high]
        tile[self.exclusions.pairs(rows, low, high)] = -np.inf
        if self.struck is not None:
            tile[:, self.struck[low:high]] = -np.inf
        return tile

    def block(self, rows: NDArray[np.int64], *, sampled: bool) -> _Survivors:
        n_references = len(self.references)
        # few queries take wide tiles, where no copy is made: what a tile costs beside products is paid less often
        step = _TILE if self.references.rows is not None else max(_TILE, _BLOCK * _TILE // (16 * len(rows)))
        capacity = min(2 * self.width + step, max(n_references, self.width))
        found = _Survivors(
            self.width,
            np.empty((len(rows), capacity), dtype=np.float32),
            np.zeros((len(rows), capacity), dtype=np.int32),
        )
        for low in range(0, n_references, step):
            tile = self.tile(rows, low, min(low + step, n_references))
            if low == 0 and sampled:
                n_sample = tile.shape[1] // 2
                rank = rank_of_threshold(self.width, n_sample, n_references)
                if rank < n_sample:
                    sample = np.partition(tile[:, :n_sample], n_sample - rank, axis=1)
                    found.threshold = sample[:, n_sample - rank].copy()
            elif low == 0 and tile.shape[1] > 4 * self.width:
                # the best of this tile rather than all of it: none below them is wanted
                at = tile.shape[1] - self.width
                found.threshold = np.nextafter(np.partition(tile, at, axis=1)[:, at], np.float32(-np.inf))
            found.add(tile, low)
        found.shrink()
        return found


def few_queries(n_queries: int) -> bool:
    """Whether the references are better read once than copied."""
    return n_queries <= FEW


def search_tiles(
    queries: NDArray[np.float32],
    searched: Prepared,
    columns: NDArray[np.int64] | None,
    struck: NDArray[np.bool_] | None,
    exclusions: ExclusionIndex,
    *,
    width: int,
) -> Candidates:
    """The `width` best references of each query.

    Args:
        queries: Unit vectors, float32 (n_queries, d).
        searched: The references, of any norms; where `columns` are given, those normalised and in that order.
        columns: Which references these are, in random order, so that the first tile is a fair sample that tells how
            near the best are. None: all, in their own order, read in place without a copy.
        struck: Of those searched, the ones that nobody may find; None if all may be found.
        exclusions: Built for the searched references in the same order.
        width: Candidates per query, 1 <= width <= references searched.
    """
    n_queries = len(queries)
    indices = np.full((n_queries, width), -1, dtype=np.int64)
    similarities = np.full((n_queries, width), -np.inf, dtype=np.float32)
    in_place = columns is None
    whole, scale, lengths = searched, None, searched.lengths
    if in_place and IN_RANGE[0] < lengths[lengths > 0].min(initial=1.0) and lengths.max() < IN_RANGE[1]:
        scale = np.divide(
            1.0, lengths, out=np.zeros(len(lengths), dtype=np.float32), where=lengths > 0, casting="same_kind"
        )
    elif in_place:
        whole = Prepared(searched.unit(slice(None)), lengths)
    search = _Pass(queries, whole, scale, struck, exclusions, width)
    n_block = max(1, min(_BLOCK, _LIST_ENTRIES // (2 * width + _TILE)))
    with one_blas_thread() if n_queries <= _ONE_THREAD else nullcontext():
        for low in range(0, n_queries, n_block):
            rows = np.arange(low, min(low + n_block, n_queries))
            found = search.block(rows, sampled=not in_place)
            short = rows[found.filled < width]
            _write(found, rows, indices, similarities)
            if len(short) and not in_place:
                # the sample misled these rows (or exclusions leave them few references): again, without it
                _write(search.block(short, sampled=False), short, indices, similarities)
    if columns is not None:
        indices = np.where(indices >= 0, columns[indices], -1)
    return Candidates(indices, similarities)


def _write(
    found: _Survivors, rows: NDArray[np.int64], indices: NDArray[np.int64], similarities: NDArray[np.float32]
) -> None:
    """Write a block's lists, nearest first."""
    scores = found.scores[:, : found.width]
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    columns = np.take_along_axis(found.columns[:, : found.width], order, axis=1)
    similarities[rows] = ranked
    indices[rows] = np.where(ranked > -np.inf, columns, -1)
