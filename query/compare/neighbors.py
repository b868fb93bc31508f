"""How far the neighbors of the same rows agree by two encoders: overlap, chance, ranks. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.types import Neighbors

__all__ = ["DEPTH", "Agreement", "agreement", "references_met"]

DEPTH = 10
"""Ranks are followed among the nearest DEPTH * k; what is further away counts as standing just behind them."""

_AT_ONCE = 20_000_000  # pairs of ids that are compared at once


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Neighbors of each query by two encoders.

    Attributes:
        k: Neighbors that are compared.
        common: Of the k by one encoder, those among the k by the other, int64 (n,).
        rank_change: Mean of |rank by one - rank by the other| over the k nearest by either, float64 (n,), 0 if both
            have the same in the same order.
    """

    k: int
    common: NDArray[np.int64]
    rank_change: NDArray[np.float64]

    @property
    def overlap(self) -> NDArray[np.float64]:
        """Share of common neighbors, (n,), in [0, 1]."""
        return self.common / self.k


def agreement(one: Neighbors, other: Neighbors, k: int) -> Agreement:
    """Compare neighbors, found among the same references, of the same queries.

    Args:
        one: Nearest first, at least k found for each query; ranks are followed as far as it is wide.
        other: The same by another encoder, as wide.
        k: Neighbors that are compared.
    """
    n, width = one.indices.shape
    common, change = np.empty(n, dtype=np.int64), np.empty(n)
    step = max(1, _AT_ONCE // (k * width))
    for low in range(0, n, step):
        rows = slice(low, low + step)
        there = _ranks(one.indices[rows, :k], other.indices[rows])
        back = _ranks(other.indices[rows, :k], one.indices[rows])
        own = np.arange(1, k + 1)
        common[rows] = (there <= k).sum(axis=1)
        change[rows] = (np.abs(there - own).sum(axis=1) + np.abs(back - own).sum(axis=1)) / (2 * k)
    return Agreement(k, common, change)


def _ranks(wanted: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of neighbors in another list, from 1; behind its end where they are not in it. (n, k) of (n, width)."""
    hit = wanted[:, :, None] == among[:, None, :]
    behind = (among >= 0).sum(axis=1)[:, None] + 1
    ranks: NDArray[np.int64] = np.where(hit.any(axis=2), hit.argmax(axis=2) + 1, behind).astype(np.int64)
    return ranks


def references_met(codes: Sequence[NDArray[np.int64]], voting: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many references each row may meet: those that share no code with it, by inclusion and exclusion.

    Args:
        codes: Of the rows, int64 (n,) each: equal ones never meet, -1 meets all.
        voting: Rows that are references, bool (n,).

    Returns:
        int64 (n,).
    """
    struck = np.zeros(len(voting), dtype=np.int64)
    for size in range(1, len(codes) + 1):
        for some in combinations(codes, size):
            known = np.logical_and.reduce([column >= 0 for column in some])
            kind = _together(some)
            n_of = np.bincount(kind[known & voting], minlength=int(kind.max(initial=0)) + 1)
            struck += (1 if size % 2 else -1) * np.where(known, n_of[kind], 0)
    met: NDArray[np.int64] = int(voting.sum()) - struck
    return met


def _together(columns: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """One number a row, equal where all columns are."""
    _, kind = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    flat: NDArray[np.int64] = kind.reshape(-1).astype(np.int64)
    return flat
