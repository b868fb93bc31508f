"""How well scores of classes agree with targets: what a validation part is judged by. Pure."""

import numpy as np
from numpy.typing import NDArray

from locatlas.models.training.losses import Labels

__all__ = ["macro_f1"]


def macro_f1(logits: NDArray[np.floating], targets: NDArray[np.bool_], *, labels: Labels) -> float:
    """Mean F1 over the classes present in the targets.

    Args:
        logits: (n, classes).
        targets: (n, classes).
        labels: `single` predicts the class of the largest logit, the first of equals; `multi` all of logit > 0, a
            probability over one half.

    Returns:
        In [0, 1]; 0 if the targets have no class.
    """
    if labels == "single":
        predicted = np.zeros(targets.shape, dtype=np.bool_)
        predicted[np.arange(len(logits)), logits.argmax(axis=1)] = True
    else:
        predicted = logits > 0
    present = targets.any(axis=0)
    if not present.any():
        return 0.0
    hits = (predicted & targets).sum(axis=0)
    return float((2 * hits / np.maximum(1, predicted.sum(axis=0) + targets.sum(axis=0)))[present].mean())
