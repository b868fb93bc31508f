"""Percentile intervals by drawing whole groups again, from per-group counts. Pure."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.scores.metrics import Counts

__all__ = ["DEFAULT_REPLICATES", "bootstrap_intervals", "replicate_statistics"]

DEFAULT_REPLICATES = 1000

_AT_ONCE = 100  # replicates per product, bounds the memory of the draws

Statistic = Callable[[Counts], NDArray[np.float64]]
"""From counts (..., n_classes) to values (...), e.g. `metrics.macro_f1`."""


def replicate_statistics(
    counts: Counts,
    statistics: Mapping[str, Statistic],
    *,
    n_replicates: int = DEFAULT_REPLICATES,
    seed: int = 0,
    fixed_classes: bool = False,
) -> dict[str, NDArray[np.float64]] | None:
    """Statistics of replicates in which groups are drawn with replacement, as many as there are.

    Groups (proteins) are drawn, not rows: the cells of one protein are not independent.

    A replicate may lack a rare class. A mean over the classes that it happens to have estimates another quantity: if
    the rare class is the hard one, most of the interval would lie above the score. With `fixed_classes` every replicate
    therefore means over the same classes, and one that was not drawn keeps the counts that it has in the data.
    That understates the spread due to classes of one or two groups, of which little can be known.

    Args:
        counts: Per group and result, each (n_groups, n_results, n_classes).
        statistics: What to compute.
        n_replicates: At least 1.
        seed: Equal seeds draw equal groups; all results share the draws, so they differ by nothing else.
        fixed_classes: As above; for statistics that are means over classes.

    Returns:
        Per statistic (n_replicates, n_results); None with fewer than two groups to draw from.

    Raises:
        InputError: If `n_replicates` < 1.
    """
    if n_replicates < 1:
        message = f"{n_replicates} bootstrap replicates: at least 1 needed"
        raise InputError(message)
    n_groups, n_results, n_classes = counts.tp.shape
    if n_groups < 2:
        return None
    rng = np.random.default_rng(seed)
    totals = {name: np.empty((n_replicates, n_results)) for name in statistics}
    flat = np.stack([counts.tp, counts.fp, counts.fn], axis=1).reshape(n_groups, -1).astype(np.float64)
    whole = np.rint(flat.sum(axis=0)).astype(np.int64).reshape(3, n_results, n_classes)
    for low in range(0, n_replicates, _AT_ONCE):
        n_drawn = min(_AT_ONCE, n_replicates - low)
        # which groups were drawn, counted per replicate: a multinomial, several times faster than numpy's own
        picks = rng.integers(n_groups, size=(n_drawn, n_groups)) + np.arange(n_drawn)[:, None] * n_groups
        times = np.bincount(picks.ravel(), minlength=n_drawn * n_groups).reshape(n_drawn, n_groups)
        drawn = np.rint(times.astype(np.float64) @ flat).astype(np.int64)
        parts = np.moveaxis(drawn.reshape(n_drawn, 3, n_results, n_classes), 1, 0)
        replicate = Counts(*parts)
        if fixed_classes:
            lacking = replicate.support == 0
            replicate = Counts(*(np.where(lacking, all_of, some) for all_of, some in zip(whole, parts, strict=True)))
        for name, statistic in statistics.items():
            totals[name][low : low + n_drawn] = statistic(replicate)
    return totals


def bootstrap_intervals(
    counts: Counts,
    statistics: Mapping[str, Statistic],
    *,
    n_replicates: int = DEFAULT_REPLICATES,
    seed: int = 0,
    level: float = 0.95,
    fixed_classes: bool = False,
) -> dict[str, NDArray[np.float64]] | None:
    """Percentile intervals of statistics over groups; arguments as `replicate_statistics`.

    Args:
        counts: Per group and result, each (n_groups, n_results, n_classes).
        statistics: What to compute.
        n_replicates: At least 1.
        seed: Of the draws.
        level: Share of the replicates inside, in (0, 1).
        fixed_classes: As `replicate_statistics`.

    Returns:
        Per statistic lower and upper bounds (n_results, 2); None with fewer than two groups.

    Raises:
        InputError: If `n_replicates` < 1 or `level` is outside (0, 1).
    """
    if not 0 < level < 1:
        message = f"level = {level}: inside (0, 1) needed"
        raise InputError(message)
    values = replicate_statistics(counts, statistics, n_replicates=n_replicates, seed=seed, fixed_classes=fixed_classes)
    if values is None:
        return None
    tails = [(1 - level) / 2, (1 + level) / 2]
    return {name: np.quantile(drawn, tails, axis=0).T for name, drawn in values.items()}
