"""Nearest neighbors within one set: each product of two rows is computed once and offered to both. Pure; numpy only.

A search of n rows among themselves is a symmetric matrix product: half of it suffices, and blocks whose rows may not
meet at all (one fold) are skipped. Row blocks run in threads, so that comparing and listing overlap with multiplying.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from locatlas.query.search.exclude import ExclusionIndex
from locatlas.query.search.threads import in_threads
from locatlas.query.search.tiles import rank_of_threshold

__all__ = ["Lists", "join"]

_BLOCK = 512  # rows and
_TILE = 4096  # columns of one tile: 8 MiB of float32 scores
_SAMPLE = 1024  # rows, at least, that tell how near the best are
_SAMPLE_SHARE = 0.02


@dataclass(slots=True)
class Lists:
    """What may be among the `width` best of each row.

    Attributes:
        width: Wanted neighbors.
        scores: float32 (n, capacity), the first `filled` of each row.
        columns: Their columns, int32.
        filled: Places used, int64 (n,).
        threshold: What a score must beat, float32 (n,); everything above it that was offered is listed.
    """

    width: int
    scores: NDArray[np.float32]
    columns: NDArray[np.int32]
    filled: NDArray[np.int64]
    threshold: NDArray[np.float32]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def empty(cls, n: int, width: int) -> "Lists":
        """Lists for n rows, nothing offered yet."""
        capacity = cls.capacity(width)
        return cls(
            width,
            np.empty((n, capacity), dtype=np.float32),
            np.empty((n, capacity), dtype=np.int32),
            np.zeros(n, dtype=np.int64),
            np.full(n, -np.inf, dtype=np.float32),
        )

    @staticmethod
    def capacity(width: int) -> int:
        """Places of a row."""
        return 3 * width + 160

    @classmethod
    def row_bytes(cls, width: int) -> int:
        """Memory of a row."""
        return 8 * cls.capacity(width) + 12

    def offer(self, low: int, rows: NDArray[np.int64], columns: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """List scores of rows `low + rows`, which come sorted by row."""
        n_rows = int(rows[-1]) + 1 if len(rows) else 0
        counts = np.bincount(rows, minlength=n_rows)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        with self._lock:
            at = slice(low, low + n_rows)
            over = np.flatnonzero(self.filled[at] + counts > self.scores.shape[1])
            if len(over):
                for row in over:
                    mine = rows == row
                    self._merge(low + int(row), columns[mine], scores[mine])
                keep = ~np.isin(rows, over)
                rows, columns, scores, within = rows[keep], columns[keep], scores[keep], within[keep]
                counts[over] = 0
            place = within + self.filled[at][rows]
            self.scores[low + rows, place] = scores
            self.columns[low + rows, place] = columns
            self.filled[at] += counts

    def _merge(self, row: int, columns: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Keep the best `width` of a full row and raise its threshold."""
        n_old = self.filled[row]
        both = np.concatenate([self.scores[row, :n_old], scores])
        names = np.concatenate([self.columns[row, :n_old], columns])
        best = np.argpartition(both, len(both) - self.width)[len(both) - self.width :]
        self.scores[row, : self.width], self.columns[row, : self.width] = both[best], names[best]
        self.filled[row] = self.width
        self.threshold[row] = max(self.threshold[row], both[best].min())

    def best(self, rows: slice | NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Columns and scores of the `width` best, nearest first; -1 and -inf where fewer were listed."""
        filled = self.filled[rows]
        used = max(int(filled.max(initial=0)), self.width)
        scores = np.where(np.arange(used) < filled[:, None], self.scores[rows, :used], np.float32(-np.inf))
        columns = self.columns[rows, :used]
        if used > self.width:
            cut = np.partition(scores, used - self.width, axis=1)[:, used - self.width]
            flat = np.flatnonzero(scores >= cut[:, None])
            if len(flat) == len(scores) * self.width:
                kept = flat.reshape(len(scores), self.width) % used
            else:  # equal scores at the cut
                kept = np.argpartition(scores, used - self.width, axis=1)[:, used - self.width :]
            scores, columns = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(columns, kept, axis=1)
        order = np.argsort(-scores, axis=1)
        scores, columns = np.take_along_axis(scores, order, axis=1), np.take_along_axis(columns, order, axis=1)
        return np.where(scores > -np.inf, columns, -1).astype(np.int64), scores


def join(unit: NDArray[np.float32], exclude: Sequence[NDArray[np.int64]], *, width: int) -> Lists:
    """List, for each row, at least the `width` best of the others it may meet.

    Args:
        unit: Unit vectors, float32 (n, d), sorted by the first of `exclude` and otherwise in random order.
        exclude: Codes of the rows, (n,): equal codes never meet, -1 meets all.
        width: 1 <= width.

    Returns:
        The lists. A row with fewer than `width` entries had a threshold that was too high, or no more to meet.
    """
    n = len(unit)
    lists = Lists.empty(n, width)
    sample = np.sort(np.random.default_rng(0).choice(n, min(n, max(_SAMPLE, int(_SAMPLE_SHARE * n))), replace=False))
    pairs = [(codes, codes) for codes in exclude]
    exclusions = ExclusionIndex.build(pairs, n_queries=n, n_references=n, columns=None)
    some = ExclusionIndex.build(pairs, n_queries=n, n_references=n, columns=sample)
    _set_thresholds(lists, unit, some, sample)
    codes = exclude[0] if exclude else np.full(n, -1, dtype=np.int64)

    def block(low: int) -> None:
        high = min(low + _BLOCK, n)
        rows = np.arange(low, high)
        start = low
        if codes[low] == codes[high - 1] and codes[low] >= 0:
            start = int(np.searchsorted(codes, codes[low], side="right"))
        out = np.empty((high - low) * _TILE, dtype=np.float32)
        for left in range(start, n, _TILE):
            right = min(left + _TILE, n)
            tile = out[: (high - low) * (right - left)].reshape(high - low, right - left)
            np.matmul(unit[low:high], unit[left:right].T, out=tile)
            tile[exclusions.pairs(rows, left, right)] = -np.inf
            flat = np.flatnonzero(tile > lists.threshold[low:high, None])
            row = flat // (right - left)
            lists.offer(low, row, flat - row * (right - left) + left, tile.reshape(-1)[flat])
            # the same scores offered to the columns, but for those that are rows of this block themselves
            inner = max(0, high - left)
            if inner < right - left:
                flat = np.flatnonzero(tile[:, inner:] > lists.threshold[left + inner : right])
                row = flat // (right - left - inner)
                column = flat - row * (right - left - inner)
                order = np.argsort(column.astype(np.uint16), kind="stable")
                row, column = row[order], column[order]
                lists.offer(left + inner, column, row + low, tile[row, column + inner])

    in_threads(block, range(0, n, _BLOCK))
    return lists


def _set_thresholds(
    lists: Lists, unit: NDArray[np.float32], exclusions: ExclusionIndex, sample: NDArray[np.int64]
) -> None:
    """Thresholds that the `width` best of a row beat, but for about 1 row in 10^4, from a sample of the rows."""
    rank = rank_of_threshold(lists.width, len(sample), len(unit))
    if rank >= len(sample):
        return
    references = unit[sample]

    def block(low: int) -> None:
        rows = np.arange(low, min(low + _BLOCK, len(unit)))
        tile = unit[rows] @ references.T
        tile[exclusions.pairs(rows, 0, len(sample))] = -np.inf
        tile.partition(len(sample) - rank, axis=1)
        lists.threshold[rows] = tile[:, len(sample) - rank]

    in_threads(block, range(0, len(unit), _BLOCK))
