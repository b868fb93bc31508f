"""When to stop: no better validation for a while, or a loss that is not finite or explodes. No I/O."""

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from locatlas.errors import TrainingStoppedError

__all__ = ["BestSoFar", "Divergence"]

_RECENT = 10
"""Losses whose median must be high: a single hard batch is no divergence."""

_REMEMBERED = 200
"""Losses before those, whose median is the running one."""

_EXPLODED = 5.0
"""Times the usual loss by which the recent ones must exceed it. A loss that goes back to where it began is not that."""


@dataclass(slots=True)
class BestSoFar:
    """The best look at the validation part, and for how many looks there was none better.

    Attributes:
        step: Optimizer steps done at the best look; None before the first.
        score: Its score.
        metrics: Its metrics.
        encoder_state: The encoder's weights then; empty where they are not kept.
        looks_since: Looks after it.
    """

    step: int | None = None
    score: float = -math.inf
    metrics: dict[str, float] = field(default_factory=dict)
    encoder_state: dict[str, Tensor] = field(default_factory=dict)
    looks_since: int = 0

    def set(self, step: int, score: float, metrics: Mapping[str, float], encoder_state: dict[str, Tensor]) -> None:
        """A new best look."""
        self.step, self.score, self.metrics, self.encoder_state = step, score, dict(metrics), encoder_state
        self.looks_since = 0

    def to_dict(self) -> dict[str, Any]:
        """Its attributes by name, for the checkpoint; tensors are not copied."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def improves(self, score: float) -> bool:
        """Whether a score is better than the best; equal is not. The first finite one is."""
        return math.isfinite(score) and score > self.score

    def is_exhausted(self, patience: int | None) -> bool:
        """Whether `patience` looks in a row brought none better."""
        return patience is not None and self.looks_since >= patience


class Divergence:
    """Watches the loss of every step.

    A loss that is not finite stops at once. A loss explodes where the median of the last 10 exceeds the median of the
    200 before them by more than 5 times the usual loss: the larger of that running median and of the median of the
    first 10, both without sign. A bound on explosions, not a test of whether anything is learned.

    Attributes:
        is_calm: Whether the last loss was below that bound by itself; where it was not, the weights are in doubt.
    """

    def __init__(self) -> None:
        self._first: list[float] = []
        self._losses: deque[float] = deque(maxlen=_REMEMBERED + _RECENT)
        self.is_calm = True

    def watch(self, loss: float, grad_norm: float) -> None:
        """Look at a step before its gradient is applied.

        Args:
            loss: Mean over the batch and all processes.
            grad_norm: Euclidean norm of the gradient before it is clipped.

        Raises:
            TrainingStoppedError: If the training diverged; says what was seen.
        """
        if not math.isfinite(loss):
            message = f"the loss is {loss}"
            raise TrainingStoppedError(message)
        if not math.isfinite(grad_norm):
            message = f"the norm of the gradient is {grad_norm} at a loss of {loss:.4g}"
            raise TrainingStoppedError(message)
        self._losses.append(loss)
        if len(self._first) < _RECENT:
            self._first.append(loss)
        if len(self._losses) < 2 * _RECENT:
            return
        losses = list(self._losses)
        recent, running = statistics.median(losses[-_RECENT:]), statistics.median(losses[:-_RECENT])
        usual = max(abs(running), abs(statistics.median(self._first)))
        self.is_calm = loss - running <= _EXPLODED * usual
        if recent - running > _EXPLODED * usual:
            message = f"the loss explodes: median {recent:.4g} over the last {_RECENT} steps, {running:.4g} before"
            raise TrainingStoppedError(message)

    def state(self) -> dict[str, list[float]]:
        """What a resumed run needs, for `restore`."""
        return {"first": list(self._first), "losses": list(self._losses)}

    def restore(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Take up the state of another."""
        self._first = [float(loss) for loss in state["first"]]
        self._losses.clear()
        self._losses.extend(float(loss) for loss in state["losses"])
