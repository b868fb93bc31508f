"""How well scores of classes agree with targets: what a validation part is judged by. Pure."""

import math

import numpy as np
from numpy.typing import NDArray

from locatlas.models.training.losses import Labels

__all__ = ["macro_f1"]


def macro_f1(
    logits: NDArray[np.floating], targets: NDArray[np.bool_], *, labels: Labels, threshold: float = 0.5
) -> float:
    """Mean F1 over the classes present in the targets.

    Args:
        logits: (n, classes).
        targets: (n, classes).
        labels: The class of the largest logit is predicted, the first of equals; with `multi` also all others from the
            threshold on, as in sweeps and probes.
        threshold: Probability, in (0, 1).

    Returns:
        In [0, 1]; 0 if the targets have no class.
    """
    present = targets.any(axis=0)
    if not present.any():
        return 0.0
    predicted = np.zeros(targets.shape, dtype=np.bool_)
    predicted[np.arange(len(logits)), logits.argmax(axis=1)] = True
    if labels == "multi":
        predicted |= logits >= math.log(threshold / (1 - threshold))
    hits = (predicted & targets).sum(axis=0)
    return float((2 * hits / np.maximum(1, predicted.sum(axis=0) + targets.sum(axis=0)))[present].mean())
