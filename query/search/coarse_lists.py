"""Which references of a tile beat the thresholds of a block of queries, listed tile after tile. Pure.

Entries of a tile stand together, by row: writing them is one copy, and the rows that are looked at later find theirs in
one run a tile. When there are too many, each row keeps its best and its threshold rises to the best that it dropped.
"""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LISTED_BYTES", "Lists", "most_listed"]

LISTED_BYTES = 6
"""Of an entry: a score, and a column."""


_ROWS_AT_ONCE = 128  # gathered together
_FULL = 4  # times what a row keeps of too many: listed of the rows on average
_LONGEST = 1 << 14  # entries of a row, above which its best are kept; places must fit 16 bits


def most_listed(best: int) -> int:
    """Entries of a row on average, above which each keeps its best."""
    return _FULL * best


class Lists:
    """Columns and scores of a block of rows.

    Attributes:
        threshold: Bits of what a score must beat, int16 (n_rows,). All offered columns that beat it are
            listed.
    """

    def __init__(self, n_rows: int, best: int, tile: int) -> None:
        """Make room for as much as can ever be listed; what is not written to takes no memory.

        Args:
            n_rows: At most.
            best: Entries that a row keeps where there are too many.
            tile: Columns of a tile, at most.
        """
        n = n_rows * (most_listed(best) + tile)
        # pages of its own, rather than holes that the C library may keep
        self._scores: NDArray[np.int16] = np.frombuffer(mmap.mmap(-1, 2 * n), dtype=np.int16)
        self._columns: NDArray[np.int32] = np.frombuffer(mmap.mmap(-1, 4 * n), dtype=np.int32)
        self._best = best
        self._starts: list[NDArray[np.int64]] = []
        self._used = 0

    def begin(self, threshold: NDArray[np.int16]) -> None:
        """Forget what was listed, and begin with these thresholds."""
        self.threshold, self._starts, self._used = threshold, [], 0
        self._filled = np.zeros(len(threshold), dtype=np.int64)

    def add(self, bits: NDArray[np.int16], flat: NDArray[np.int64], low: int) -> None:
        """List scores of a tile.

        Args:
            bits: Of all scores, (n_rows, n_columns).
            flat: Places in it of those that beat their thresholds, ascending.
            low: First column of the tile.
        """
        n_rows, size = bits.shape
        starts = np.searchsorted(flat, np.arange(n_rows + 1) * size)
        end = self._used + len(flat)
        at = slice(self._used, end)
        np.take(bits.reshape(-1), flat, out=self._scores[at], mode="clip")
        counts = np.diff(starts)
        np.subtract(flat, np.repeat(np.arange(n_rows) * size - low, counts), out=self._columns[at], casting="unsafe")
        self._starts.append(starts + self._used)
        self._used = end
        self._filled += counts
        if end > most_listed(self._best) * n_rows or int(self._filled.max()) > _LONGEST:
            self._shrink()

    def rows(self, low: int, high: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """What is listed of rows [low, high).

        Returns:
            Columns, ascending, (n_rows, longest); as many numbers that are ordered as the scores are, whose upper 16
            bits are theirs and whose lower 16 bits the place in the row, -1 where a row has no more; entries (n_rows,).
        """
        n_rows, filled = high - low, self._filled[low:high]
        longest = int(filled.max(initial=0))
        columns = np.zeros((n_rows, longest), dtype=np.int32)
        keys = np.full((n_rows, longest), -1, dtype=np.int32)
        if longest:
            bounds = np.stack([starts[low : high + 1] for starts in self._starts])  # (n_tiles, n_rows + 1)
            counts = np.diff(bounds, axis=1)
            before = np.cumsum(counts, axis=0) - counts  # entries of the row in earlier tiles
            runs = [slice(a, b) for a, b in bounds[:, [0, -1]].tolist()]
            flat = counts.reshape(-1)
            first = (before + np.arange(n_rows) * longest).reshape(-1) - (np.cumsum(flat) - flat)
            place = np.arange(int(flat.sum())) + np.repeat(first, flat)
            columns.reshape(-1)[place] = np.concatenate([self._columns[run] for run in runs])
            scores = np.concatenate([self._scores[run] for run in runs]).astype(np.int32) << 16
            keys.reshape(-1)[place] = scores
            keys |= np.where(keys < 0, 0, np.arange(longest, dtype=np.int32))
        return columns, keys, filled

    def _shrink(self) -> None:
        """Keep the best of each row, and raise the thresholds to what is dropped."""
        parts: list[tuple[Any, Any]] = []
        for low in range(0, len(self.threshold), _ROWS_AT_ONCE):
            high = min(low + _ROWS_AT_ONCE, len(self.threshold))
            columns, keys, _ = self.rows(low, high)
            longest = keys.shape[1]
            if longest > self._best:
                cut = np.partition(keys, longest - self._best - 1, axis=1)[:, longest - self._best - 1]
                kept = keys > cut[:, None]
                raised = np.maximum(cut >> 16, 0).astype(np.int16)
                self.threshold[low:high] = np.maximum(self.threshold[low:high], raised)
            else:
                kept = keys >= 0
            parts.append(((keys[kept] >> 16).astype(np.int16), columns[kept]))
            self._filled[low:high] = kept.sum(axis=1)
        self._used = int(self._filled.sum())
        self._scores[: self._used] = np.concatenate([scores for scores, _ in parts])
        self._columns[: self._used] = np.concatenate([columns for _, columns in parts])
        self._starts = [np.concatenate([[0], np.cumsum(self._filled)])]
