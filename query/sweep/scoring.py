"""Scores of a sweep's predictions: over all rows, per fold, and with bootstrap intervals over groups. Pure.

Counts are pooled over folds before F1 is taken, rather than F1 averaged over folds: a fold that lacks a class would
average another set of classes, and the false positives of that class would be lost. Source: Forman and Scholz 2010,
"Apples-to-apples in cross-validation studies", SIGKDD Explorations 12(1), their F_tp,fp.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.scores.bootstrap import Statistic, bootstrap_intervals
from locatlas.query.scores.metrics import Counts, balanced_accuracy, confusion_matrix, f1, macro_f1, micro_f1
from locatlas.query.sweep.result import KResult

__all__ = ["Evaluation", "score"]

_MEANS_OVER_CLASSES: dict[str, Statistic] = {"macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy}


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


def score(
    evaluation: Evaluation,
    predicted: NDArray[Any],
    ks: list[int],
    weights: str,
    *,
    n_bootstrap: int,
    seed: int,
    kept: Mapping[int, NDArray[np.float64]],
) -> list[KResult]:
    """Score the predictions at each k.

    Args:
        evaluation: What they are held against.
        predicted: Class numbers (n_ks, n), -1 for none, or bool (n_ks, n, n_classes).
        ks: For the record.
        weights: For the record.
        n_bootstrap: Replicates, 0 for no intervals.
        seed: Of the bootstrap.
        kept: Scores of the votes (n, n_classes) by those ks whose result shall hold them and the predictions.
    """
    n_groups = int(evaluation.groups.max(initial=-1)) + 1
    counts, right = [], []
    for at_k in predicted:
        chosen = _as_table(at_k, evaluation.table.shape[1])
        counts.append(Counts.by_group(evaluation.table, chosen, evaluation.groups, n_groups))
        hit = (chosen == evaluation.table).all(axis=1)
        # rows right and wrong as counts of one class, whose recall is the accuracy
        n_right = np.bincount(evaluation.groups, weights=hit, minlength=n_groups).astype(np.int64)
        n_rows = np.bincount(evaluation.groups, minlength=n_groups)
        right.append(Counts(n_right[:, None], np.zeros_like(n_right)[:, None], (n_rows - n_right)[:, None]))
    intervals = _intervals(counts, right, n_bootstrap, seed)
    fold_of_group = np.zeros(n_groups, dtype=np.int64)
    if evaluation.folds is not None:
        fold_of_group[evaluation.groups] = evaluation.folds
    results = []
    for step, k in enumerate(ks):
        confusion = None
        if evaluation.single:
            targets = evaluation.table.argmax(axis=1)
            confusion = confusion_matrix(targets, predicted[step], evaluation.table.shape[1])
        pooled = counts[step].summed()
        folds: list[float] = []
        if evaluation.folds is not None:
            folds = [float(macro_f1(counts[step].summed(fold_of_group == fold))) for fold in np.unique(fold_of_group)]
        results.append(
            KResult(
                k=k,
                weights=weights,
                macro_f1=float(macro_f1(pooled)),
                micro_f1=float(micro_f1(pooled)),
                balanced_accuracy=float(balanced_accuracy(pooled)),
                accuracy=float(balanced_accuracy(right[step].summed())),
                macro_f1_sd=float(np.std(folds, ddof=1)) if len(folds) > 1 else None,
                macro_f1_folds=tuple(folds),
                ci95={name: (float(low), float(high)) for name, (low, high) in intervals[step].items()},
                counts=pooled,
                per_class_f1=f1(pooled),
                confusion=confusion,
                predicted=predicted[step] if k in kept else None,
                scores=kept.get(k),
            )
        )
    return results


def _as_table(predicted: NDArray[Any], n_classes: int) -> NDArray[np.bool_]:
    """Class numbers as one column a class; a table stays as it is."""
    if predicted.ndim == 2:
        return predicted
    return predicted[:, None] == np.arange(n_classes)


def _intervals(
    counts: list[Counts], right: list[Counts], n_replicates: int, seed: int
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
        bounds = bootstrap_intervals(whole, statistics, n_replicates=n_replicates, seed=seed, fixed_classes=fixed)
        drawn |= bounds or {}
    return [{name: bounds[step] for name, bounds in drawn.items()} for step in range(len(counts))]
