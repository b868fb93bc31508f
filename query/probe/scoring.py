"""Scores of several seeds' predictions, and what drawing other groups would have made of their mean. Pure."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from locatlas.query.probe.result import Spread
from locatlas.query.scores.bootstrap import Statistic, replicate_statistics
from locatlas.query.scores.metrics import Counts, balanced_accuracy, f1, macro_f1, micro_f1

__all__ = ["score_seeds"]

_MEANS_OVER_CLASSES: Mapping[str, Statistic] = {"macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy}


def score_seeds(
    table: NDArray[np.bool_], predicted: NDArray[np.bool_], groups: NDArray[np.int64], *, n_bootstrap: int, seed: int
) -> tuple[dict[str, Spread], NDArray[np.float64]]:
    """Score what was predicted with each seed.

    Args:
        table: Annotated classes of the rows, bool (n, n_classes).
        predicted: Predicted ones, bool (n_seeds, n, n_classes).
        groups: Group of each row, 0 <= group < n_groups, (n,).
        n_bootstrap: Replicates, 0 for no intervals.
        seed: Of the bootstrap. All seeds share the draws.

    Returns:
        `macro_f1`, `micro_f1`, `accuracy` and `balanced_accuracy`; and F1 of each seed and class, (n_seeds, n_classes).
    """
    n_groups = int(groups.max(initial=-1)) + 1
    of_seeds = [Counts.by_group(table, chosen, groups, n_groups) for chosen in predicted]
    counts = _stacked(of_seeds)
    # rows right and wrong as counts of one class, whose recall is the accuracy
    right = _stacked([_right(table, chosen, groups, n_groups) for chosen in predicted])
    jobs: tuple[tuple[Counts, Mapping[str, Statistic], bool], ...] = (
        (counts, _MEANS_OVER_CLASSES, True),
        (counts, {"micro_f1": micro_f1}, False),
        (right, {"accuracy": balanced_accuracy}, False),
    )
    scores: dict[str, Spread] = {}
    for counted, statistics, fixed in jobs:
        drawn = (
            replicate_statistics(counted, statistics, n_replicates=n_bootstrap, seed=seed, fixed_classes=fixed)
            if n_bootstrap
            else None
        )
        pooled = counted.summed()
        for name, statistic in statistics.items():
            bounds = None
            if drawn is not None:
                low, high = np.quantile(drawn[name].mean(axis=1), [0.025, 0.975])
                bounds = (float(low), float(high))
            scores[name] = Spread(tuple(statistic(pooled).tolist()), bounds)
    order = ("macro_f1", "micro_f1", "accuracy", "balanced_accuracy")
    return {name: scores[name] for name in order}, f1(counts.summed())


def _stacked(of_seeds: list[Counts]) -> Counts:
    """Counts (n_groups, n_classes) of each seed as (n_groups, n_seeds, n_classes)."""
    return Counts(*(np.stack([getattr(one, name) for one in of_seeds], axis=1) for name in ("tp", "fp", "fn")))


def _right(table: NDArray[np.bool_], predicted: NDArray[np.bool_], groups: NDArray[np.int64], n_groups: int) -> Counts:
    hit = (table == predicted).all(axis=1)
    n_right = np.bincount(groups, weights=hit, minlength=n_groups).astype(np.int64)
    n_rows = np.bincount(groups, minlength=n_groups)
    return Counts(n_right[:, None], np.zeros_like(n_right)[:, None], (n_rows - n_right)[:, None])
