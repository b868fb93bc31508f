"""How right predictions are: F1, accuracy and recall from counts per class. Pure.

Definitions, stated once: a class is *present* if at least one evaluated target has it. F1 of a class is
2 TP / (2 TP + FP + FN), 0 where that is 0/0. Macro F1 is the mean over the present classes, micro F1 is F1 of the
summed counts (over all classes), balanced accuracy is the mean recall over the present classes.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFINITIONS", "Counts", "balanced_accuracy", "confusion_matrix", "f1", "macro_f1", "micro_f1"]

DEFINITIONS = {
    "macro_f1": "mean F1 over the classes present in the evaluated targets; 0 for a class never predicted",
    "micro_f1": "F1 of the true positives, false positives and false negatives summed over all classes",
    "accuracy": "single-label: share of rows predicted right; multi-label: share with exactly the annotated set",
    "balanced_accuracy": "mean recall over the classes present in the evaluated targets",
    "per_class_f1": "2 TP / (2 TP + FP + FN), pooled over all evaluated rows; null for a class no target has",
}


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """True positives, false positives and false negatives, int64, classes along the last axis.

    Attributes:
        tp: Rows that have the class and are predicted to.
        fp: Rows that are predicted to have it and do not.
        fn: Rows that have it and are not predicted to.
    """

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]

    @property
    def support(self) -> NDArray[np.int64]:
        """Rows whose target has the class."""
        return self.tp + self.fn

    @classmethod
    def by_group(
        cls, targets: NDArray[np.bool_], predicted: NDArray[np.bool_], groups: NDArray[np.int64], n_groups: int
    ) -> Self:
        """Counts per group and class.

        Args:
            targets: bool (n, n_classes).
            predicted: bool (n, n_classes).
            groups: Group of each row, 0 <= groups < n_groups, (n,).
            n_groups: Groups in all.

        Returns:
            Arrays of shape (n_groups, n_classes).
        """
        n_classes = targets.shape[1]

        def count(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
            rows, classes = np.nonzero(hits)
            flat = np.bincount(groups[rows] * n_classes + classes, minlength=n_groups * n_classes)
            return flat.reshape(n_groups, n_classes).astype(np.int64)

        return cls(count(targets & predicted), count(~targets & predicted), count(targets & ~predicted))

    @classmethod
    def of(cls, targets: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Self:
        """Counts per class over all rows of `targets` and `predicted`, both bool (n, n_classes)."""
        return cls.by_group(targets, predicted, np.zeros(len(targets), dtype=np.int64), 1).summed()

    def summed(self, rows: NDArray[np.bool_] | slice = slice(None)) -> Self:
        """Counts summed over (some) groups: (n_groups, n_classes) -> (n_classes,)."""
        return type(self)(self.tp[rows].sum(axis=0), self.fp[rows].sum(axis=0), self.fn[rows].sum(axis=0))


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = np.zeros(np.shape(denominator))
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def _mean_over_present(values: NDArray[np.float64], counts: Counts) -> NDArray[np.float64]:
    present = counts.support > 0
    n_present = present.sum(axis=-1).astype(np.float64)
    total = np.where(present, values, 0.0).sum(axis=-1)
    return np.divide(total, n_present, out=np.full(np.shape(n_present), np.nan), where=n_present > 0)


def f1(counts: Counts) -> NDArray[np.float64]:
    """F1 of each class, in [0, 1], the shape of the counts; 0 where a class is neither annotated nor predicted."""
    return _ratio(2.0 * counts.tp, 2.0 * counts.tp + counts.fp + counts.fn)


def macro_f1(counts: Counts) -> NDArray[np.float64]:
    """Mean F1 over the classes present in the targets, over the last axis; NaN if none is."""
    return _mean_over_present(f1(counts), counts)


def micro_f1(counts: Counts) -> NDArray[np.float64]:
    """F1 of the counts summed over the last axis."""
    return f1(Counts(counts.tp.sum(axis=-1), counts.fp.sum(axis=-1), counts.fn.sum(axis=-1)))


def balanced_accuracy(counts: Counts) -> NDArray[np.float64]:
    """Mean recall over the classes present in the targets, over the last axis; NaN if none is."""
    return _mean_over_present(_ratio(counts.tp + 0.0, counts.support + 0.0), counts)


def confusion_matrix(targets: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Rows by annotated and predicted class.

    Args:
        targets: Class numbers, (n,), 0 <= targets < n_classes.
        predicted: Class numbers, (n,), -1 for none.
        n_classes: Classes in all.

    Returns:
        int64 (n_classes, n_classes + 1): annotated along the rows; the last column counts rows without prediction.
    """
    column = np.where(predicted < 0, n_classes, predicted)
    flat = np.bincount(targets * (n_classes + 1) + column, minlength=n_classes * (n_classes + 1))
    return flat.reshape(n_classes, n_classes + 1).astype(np.int64)
