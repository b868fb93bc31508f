"""Does a vote of 0.8 come true eight times in ten? Reliability of confidences and its summary, ECE. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["N_BINS", "Reliability", "reliability", "tally"]

N_BINS = 15
"""Equal bins of [0, 1], as Guo et al. 2017, arXiv:1706.04599."""


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How often predictions of each confidence are right.

    Attributes:
        n: Rows of each bin.
        confidence: Mean confidence of the bin's rows; NaN where there are none.
        accuracy: Share of them that is right; NaN where there are none.
        ece: Expected calibration error: the mean over rows of |accuracy - confidence| of their bin, in [0, 1].
    """

    n: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    ece: float


def tally(confidence: NDArray[np.float64], right: NDArray[np.bool_], *, n_bins: int = N_BINS) -> NDArray[np.float64]:
    """Sums over equal bins of the confidence, from which sums over several cells can be made.

    Args:
        confidence: Of the predicted class, in [0, 1], (n,). A confidence on the edge of two bins is in the upper one.
        right: Whether it is the annotated one, (n,).
        n_bins: Bins.

    Returns:
        Rows, summed confidence and rows right, float64 (3, n_bins).
    """
    at = np.minimum((confidence * n_bins).astype(np.int64), n_bins - 1)
    rows = [np.bincount(at, weights=w, minlength=n_bins) for w in (None, confidence, right.astype(np.float64))]
    return np.stack(rows).astype(np.float64)


def reliability(sums: NDArray[np.float64]) -> Reliability:
    """Reliability from `tally`.

    Args:
        sums: (3, n_bins), as `tally` gives them, or their sum over seeds.
    """
    n = sums[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        confidence, accuracy = sums[1] / n, sums[2] / n
    there = n > 0
    gaps = np.abs(accuracy[there] - confidence[there])
    return Reliability(n.astype(np.int64), confidence, accuracy, float((gaps * n[there]).sum() / max(n.sum(), 1)))
