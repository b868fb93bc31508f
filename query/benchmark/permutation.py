"""The permutation test of two encoders that scored the same groups. Pure."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from locatlas.query.scores.metrics import Counts, macro_f1

__all__ = ["DEFAULT_PERMUTATIONS", "EXACT_GROUPS", "permutation_p", "smallest_p", "swaps_needed"]

DEFAULT_PERMUTATIONS = 10_000

EXACT_GROUPS = 12
"""Up to so many groups all 2^n exchanges are looked at."""

_SWAPS_A_TEST = 200
"""So that the smallest p, times the number of tests, is a tenth of 0.05."""

_CLEAR_P = 0.01
"""From here on the first 10,000 swaps tell a p well enough: a look at more is for those below."""

_AT_ONCE = 250


def swaps_needed(n_tests: int, least: int = DEFAULT_PERMUTATIONS) -> int:
    """Random swaps, so that Holm's correction over so many tests can find something at all."""
    return max(least, _SWAPS_A_TEST * n_tests)


def smallest_p(n_groups: int, n_permutations: int) -> float:
    """The smallest p that the test can give."""
    # of all exchanges, none and all have the same absolute difference
    return 2.0 ** (1 - n_groups) if n_groups <= EXACT_GROUPS else 1 / (1 + n_permutations)


def permutation_p(counts: Counts, n_seeds: int, difference: float, *, n_permutations: int, seed: int) -> float:
    """How often swapping groups between the two gives a mean macro F1 that differs at least as much, two-sided.

    All 2^n swaps are looked at for few groups, else random ones, and p is (1 + hits) / (1 + swaps) (Phipson and Smyth
    2010). Where p after the first 10,000 is 0.01 or more it stays, which keeps the test's level: what is looked at
    further could only be called smaller.

    Args:
        counts: Per group, cell and class, (n_groups, 2 n_seeds, n_classes): the first encoder's cells, the second's.
        n_seeds: Cells of each.
        difference: That was seen.
        n_permutations: Random swaps at most.
        seed: Of these.
    """
    n_groups = counts.tp.shape[0]
    flat = np.stack([counts.tp, counts.fp, counts.fn]).astype(np.float64)  # (3, groups, 2 seeds, classes)
    first, second = flat[:, :, :n_seeds], flat[:, :, n_seeds:]
    total = (first + second).sum(axis=1)  # (3, seeds, classes)
    gaps = np.moveaxis(first - second, 1, 0).reshape(n_groups, -1)
    hits = looked = 0
    for swaps in _swaps(n_groups, n_permutations, seed):
        hits += int((np.abs(_swapped(total, gaps, swaps)) >= abs(difference) - 1e-12).sum())
        looked += len(swaps)
        if n_groups > EXACT_GROUPS and looked == DEFAULT_PERMUTATIONS and (1 + hits) / (1 + looked) >= _CLEAR_P:
            break
    return hits / looked if n_groups <= EXACT_GROUPS else (1 + hits) / (1 + looked)


def _swaps(n_groups: int, n_permutations: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Which groups are swapped in each permutation, some at a time, bool (n, n_groups)."""
    if n_groups <= EXACT_GROUPS:
        yield np.array(list(itertools.product([False, True], repeat=n_groups)), dtype=np.bool_)
        return
    rng = np.random.default_rng(seed)
    for low in range(0, n_permutations, _AT_ONCE):
        yield rng.random((min(_AT_ONCE, n_permutations - low), n_groups)) < 0.5


def _swapped(total: NDArray[np.float64], gaps: NDArray[np.float64], swaps: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Differences of macro F1 after swapping the groups of each permutation, (n,).

    Args:
        total: Counts of both over all groups, (3, seeds, classes).
        gaps: Those of the first less those of the second by group, (n_groups, 3 * seeds * classes).
        swaps: Bool (n, groups).
    """
    signs = np.where(swaps, -1.0, 1.0)
    moved = (signs @ gaps).reshape(len(signs), *total.shape)
    one, other = (total + moved) / 2, (total - moved) / 2
    f1 = [macro_f1(Counts(*(np.rint(side[:, part]).astype(np.int64) for part in range(3)))) for side in (one, other)]
    difference: NDArray[np.float64] = f1[0].mean(axis=1) - f1[1].mean(axis=1)
    return difference
