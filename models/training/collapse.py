"""Signs that features stopped telling images apart, and when to stop for them. Pure, but for the watch's memory."""

import math
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from locatlas.errors import TrainingStoppedError

__all__ = ["CollapseWatch", "entropy", "feature_sd"]


def entropy(shares: Tensor) -> Tensor:
    """Of distributions over the last axis, in nats; 0 log 0 is 0."""
    return torch.special.entr(shares).sum(dim=-1)


def feature_sd(features: Tensor) -> Tensor:
    """How far L2-normalized features spread around their mean: 0 where all are the same, 1 where the mean is 0.

    Args:
        features: (n, d).

    Returns:
        Scalar, float32: square root of the mean squared distance from the mean, in [0, 1].
    """
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    return (unit - unit.mean(dim=0)).square().sum(dim=-1).mean().sqrt()


class CollapseWatch:
    """Looks at each step's metrics and stops training once features have been collapsed for a while.

    Collapsed is a step in which `feature_sd` is below `least_sd`; or, where there are prototypes, one in which the
    teacher says the same of every image: `information`, the teacher's entropy over all images together less its mean
    entropy over single ones, is below `least_information` though the student agrees with it (`kl` is small), and the
    teacher's entropy is near 0 (one prototype took over) or near its largest (all alike).

    A network that starts from random weights gives all images nearly the same vector, so nothing is judged in the first
    steps, and only an unbroken run of collapsed steps stops. The run is counted anew after training was resumed.
    `for_steps` makes the watch of a training of known length.

    Args:
        n_prototypes: Outputs of the head; None where there are none.
        grace: Steps at the start that are not judged.
        patience: Collapsed steps in a row that stop training, >= 1.
        least_sd: See above.
        least_information: In nats.
        most_kl: Divergence of student from teacher, in nats, below which they agree.
        margin: Share of the largest entropy that is near either end.
    """

    def __init__(
        self,
        n_prototypes: int | None = None,
        *,
        grace: int = 200,
        patience: int = 50,
        least_sd: float = 1e-3,
        least_information: float = 1e-3,
        most_kl: float = 1e-2,
        margin: float = 0.01,
    ) -> None:
        self._largest = None if n_prototypes is None else math.log(n_prototypes)
        self._grace = grace
        self._patience = patience
        self._least_sd = least_sd
        self._least_information = least_information
        self._most_kl = most_kl
        self._margin = margin
        self._run = 0

    @classmethod
    def for_steps(cls, n_steps: int, n_prototypes: int | None = None) -> Self:
        """The watch of a training of so many steps: the first tenth and 200 steps are not judged, but half at most.

        So that a short training, too, can be stopped: one of 100 steps is by 25 collapsed ones of its second half.
        Below 19 steps there is no telling.

        Args:
            n_steps: All steps.
            n_prototypes: As in the class.
        """
        grace = min(max(200, math.ceil(n_steps / 10)), n_steps // 2)
        return cls(n_prototypes, grace=grace, patience=min(50, max(10, n_steps // 4)))

    def look(self, metrics: Mapping[str, float], step: int) -> None:
        """Take a step into account.

        Args:
            metrics: `feature_sd`; with prototypes also `teacher_entropy`, `information` and `kl`.
            step: From 0.

        Raises:
            TrainingStoppedError: If this is the last of `patience` collapsed steps in a row.
        """
        seen = self._seen(metrics) if step >= self._grace else None
        self._run = self._run + 1 if seen else 0
        if self._run >= self._patience:
            message = f"features collapsed: {seen}, in the last {self._run} steps up to step {step}"
            raise TrainingStoppedError(message)

    def _seen(self, metrics: Mapping[str, float]) -> str | None:
        """What is wrong, in words."""
        sd = metrics["feature_sd"]
        if sd < self._least_sd:
            return f"all images get nearly the same vector (SD {sd:.2g} of features of length 1)"
        if self._largest is None:
            return None
        share = metrics["teacher_entropy"] / self._largest
        same = metrics["information"] < self._least_information and metrics["kl"] < self._most_kl
        if not same or self._margin <= share <= 1 - self._margin:
            return None
        end = "one prototype takes all images" if share < self._margin else "all prototypes are alike to every image"
        return f"{end} (teacher's entropy {metrics['teacher_entropy']:.3g} of {self._largest:.3g})"
