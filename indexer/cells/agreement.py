"""How well found labels agree with true ones. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Agreement", "agreement", "overlaps"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts over one or more fields.

    Attributes:
        n_true: True objects.
        n_found: Found ones.
        n_matched: Pairs that share more than half of their union; no object can be in two of them.
        iou_sum: Sum of intersection over union of these pairs.
    """

    n_true: int
    n_found: int
    n_matched: int
    iou_sum: float

    @property
    def precision(self) -> float:
        """Matched share of the found; 1 where nothing was found."""
        return self.n_matched / self.n_found if self.n_found else 1.0

    @property
    def recall(self) -> float:
        """Matched share of the true; 1 where there is nothing to find."""
        return self.n_matched / self.n_true if self.n_true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two: 2 matched / (true + found); 1 where both are none."""
        both = self.n_true + self.n_found
        return 2 * self.n_matched / both if both else 1.0

    @property
    def mean_iou(self) -> float:
        """Of the matched pairs; NaN where there are none."""
        return self.iou_sum / self.n_matched if self.n_matched else float("nan")


def overlaps(true: NDArray[np.integer], found: NDArray[np.integer]) -> NDArray[np.float64]:
    """Intersection over union of every true (rows) with every found object (columns), both in order of their numbers.

    Args:
        true: (height, width), 0 background.
        found: The same shape.
    """
    if true.shape != found.shape:
        message = f"labels of {true.shape} and {found.shape} cannot be compared"
        raise ValueError(message)
    _, rows = np.unique(np.append(true.ravel(), 0), return_inverse=True)
    _, columns = np.unique(np.append(found.ravel(), 0), return_inverse=True)
    n_rows, n_columns = int(rows.max()) + 1, int(columns.max()) + 1
    both = np.bincount(rows[:-1] * n_columns + columns[:-1], minlength=n_rows * n_columns).reshape(n_rows, n_columns)
    shared = both[1:, 1:]
    union = both[1:].sum(axis=1)[:, None] + both[:, 1:].sum(axis=0)[None] - shared
    return np.asarray(shared / np.maximum(union, 1))


def agreement(pairs: Iterable[tuple[NDArray[np.integer], NDArray[np.integer]]]) -> Agreement:
    """Counts over (true, found) label images, matched within each at an intersection over union above a half."""
    n_true = n_found = n_matched = 0
    iou_sum = 0.0
    for true, found in pairs:
        iou = overlaps(true, found)
        matched = iou[iou > 0.5]
        n_true, n_found = n_true + iou.shape[0], n_found + iou.shape[1]
        n_matched, iou_sum = n_matched + len(matched), iou_sum + float(matched.sum())
    return Agreement(n_true, n_found, n_matched, iou_sum)
