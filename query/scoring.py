"""Scores of a sweep's predictions: over all rows, per fold, and with bootstrap intervals over groups. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.bootstrap import Statistic, bootstrap_intervals
from locatlas.query.metrics import Counts, balanced_accuracy, confusion_matrix, f1, macro_f1, micro_f1
from locatlas.query.sweep_result import KResult

__all__ = ["Evaluation", "score"]

_MEANS_OVER_CLASSES: dict[str, Statistic] = {"macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy}
_STATISTICS: dict[str, Statistic] = _MEANS_OVER_CLASSES | {"micro_f1": micro_f1}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What predictions are held against.

    Attributes:
        table: Annotated classes, bool (n, n_classes).
        groups: Group of each row, int64 (n,), 0 <= group < n_groups, every number used.
        folds: Fold of each row, int64 (n,), no group in two folds; None where there are none.
        single: Whether every row has exactly one class.
    """

    table: NDArray[np.bool_]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64] | None
    single: bool

    @property
    def strata(self) -> NDArray[np.int64]:
        """Fold of each group; 0 without folds."""
        out = np.zeros(int(self.groups.max(initial=-1)) + 1, dtype=np.int64)
        if self.folds is not None:
            out[self.groups] = self.folds
        return out


def score(
    evaluation: Evaluation,
    predicted: NDArray[Any],
    ks: list[int],
    weights: str,
    *,
    n_bootstrap: int,
    seed: int,
    keep_predictions: bool,
) -> list[KResult]:
    """Score the predictions at each k.

    Args:
        evaluation: What they are held against.
        predicted: Class numbers (n_ks, n), -1 for none, or bool (n_ks, n, n_classes).
        ks: For the record.
        weights: For the record.
        n_bootstrap: Replicates, 0 for no intervals.
        seed: Of the bootstrap.
        keep_predictions: Put the predictions into the results.
    """
    strata = evaluation.strata
    counts, right = [], []
    for at_k in predicted:
        chosen = _as_table(at_k, evaluation.table.shape[1])
        counts.append(Counts.by_group(evaluation.table, chosen, evaluation.groups, len(strata)))
        hit = (chosen == evaluation.table).all(axis=1)
        # rows right and wrong as counts of one class, whose recall is the accuracy
        n_right = np.bincount(evaluation.groups, weights=hit, minlength=len(strata)).astype(np.int64)
        n_rows = np.bincount(evaluation.groups, minlength=len(strata))
        right.append(Counts(n_right[:, None], np.zeros_like(n_right)[:, None], (n_rows - n_right)[:, None]))
    intervals = _intervals(counts, right, strata, n_bootstrap, seed)
    results = []
    for step, k in enumerate(ks):
        confusion = None
        if evaluation.single:
            targets = evaluation.table.argmax(axis=1)
            confusion = confusion_matrix(targets, predicted[step], evaluation.table.shape[1])
        parts = [strata == fold for fold in np.unique(strata)]
        per_part = {name: _per_part(counts[step], parts, statistic) for name, statistic in _STATISTICS.items()}
        per_part["accuracy"] = _per_part(right[step], parts, balanced_accuracy)
        pooled = counts[step].summed()
        folded = evaluation.folds is not None
        results.append(
            KResult(
                k=k,
                weights=weights,
                **{name: float(values.mean()) for name, values in per_part.items()},
                macro_f1_sd=float(per_part["macro_f1"].std(ddof=1)) if folded else None,
                ci95={name: (float(low), float(high)) for name, (low, high) in intervals[step].items()},
                macro_f1_pooled=float(macro_f1(pooled)),
                fold_macro_f1=tuple(per_part["macro_f1"].tolist()) if folded else (),
                counts=pooled,
                per_class_f1=f1(pooled),
                confusion=confusion,
                predicted=predicted[step] if keep_predictions else None,
            )
        )
    return results


def _as_table(predicted: NDArray[Any], n_classes: int) -> NDArray[np.bool_]:
    """Class numbers as one column a class; a table stays as it is."""
    if predicted.ndim == 2:
        return predicted
    return predicted[:, None] == np.arange(n_classes)


def _per_part(counts: Counts, parts: list[NDArray[np.bool_]], statistic: Statistic) -> NDArray[np.float64]:
    """A statistic of each fold, (n_parts,)."""
    return np.array([float(statistic(counts.summed(part))) for part in parts])


def _intervals(
    counts: list[Counts], right: list[Counts], strata: NDArray[np.int64], n_replicates: int, seed: int
) -> list[dict[str, NDArray[np.float64]]]:
    """Bounds by statistic at each k; empty without replicates or with too few groups."""
    if not n_replicates:
        return [{} for _ in counts]
    drawn: dict[str, NDArray[np.float64]] = {}
    jobs: tuple[tuple[list[Counts], dict[str, Statistic], bool], ...] = (
        (counts, _MEANS_OVER_CLASSES, True),
        (counts, {"micro_f1": micro_f1}, False),
        (right, {"accuracy": balanced_accuracy}, False),
    )
    for stacked, statistics, fixed in jobs:
        whole = Counts(*(np.stack([getattr(one, name) for one in stacked], axis=1) for name in ("tp", "fp", "fn")))
        bounds = bootstrap_intervals(
            whole, statistics, strata=strata, n_replicates=n_replicates, seed=seed, fixed_classes=fixed
        )
        drawn |= bounds or {}
    return [{name: bounds[step] for name, bounds in drawn.items()} for step in range(len(counts))]
