"""What a cell's predictions were worth: counts for each group, from which all scores and tests follow. Frozen data."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from locatlas.query.benchmark.cell import Cell
from locatlas.query.scores.metrics import Counts, balanced_accuracy, f1, macro_f1, micro_f1

__all__ = ["Scored"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scored:
    """Predictions of one cell, counted by group.

    Attributes:
        cell: What was measured.
        fingerprint: Of the encoder whose vectors were judged (of a fine-tuned one: its own).
        data_digest: Of what was measured on.
        classes: Sorted by name.
        groups: Names of the groups that were scored, sorted; the rows of `counts`.
        counts: Per group and class, int64 (n_groups, n_classes).
        n_right: Rows of each group predicted right (multi-label: exactly the annotated set), int64 (n_groups,).
        n_rows: Scored rows of each group, int64 (n_groups,).
        n_references: Rows that voted or trained, the mean over queries or folds.
        confusion: Single-label: int64 (n_classes, n_classes + 1), annotated along the rows; last column:
            none predicted.
        confidence: Single-label: sums over 15 equal bins of the confidence of the predicted class, float64 (3, 15):
            rows, summed confidence, rows right. None where there are no confidences.
        left_out: Rows not scored, by reason.
        notes: What a reader must know.
    """

    cell: Cell
    fingerprint: str
    data_digest: str
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    counts: Counts
    n_right: NDArray[np.int64]
    n_rows: NDArray[np.int64]
    n_references: float
    confusion: NDArray[np.int64] | None = None
    confidence: NDArray[np.float64] | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def pooled(self) -> Counts:
        """Counts over all groups, (n_classes,)."""
        return self.counts.summed()

    @property
    def n(self) -> int:
        """Scored rows."""
        return int(self.n_rows.sum())

    @property
    def macro_f1(self) -> float:
        """Over the classes present in the scored rows."""
        return float(macro_f1(self.pooled))

    @property
    def micro_f1(self) -> float:
        """Of the summed counts."""
        return float(micro_f1(self.pooled))

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes present."""
        return float(balanced_accuracy(self.pooled))

    @property
    def accuracy(self) -> float:
        """Share of rows that are right."""
        return float(self.n_right.sum() / max(self.n, 1))

    @property
    def per_class_f1(self) -> NDArray[np.float64]:
        """F1 of each class, (n_classes,)."""
        return f1(self.pooled)
