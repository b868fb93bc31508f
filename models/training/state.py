"""How far a training came, beside its weights, and what came out of it. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from torch import Tensor

from locatlas.models.training.stopping import BestSoFar, Divergence

__all__ = ["RunState", "TrainingResult"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingResult:
    """What came out of a training.

    Attributes:
        steps: Optimizer steps done.
        epochs: Passes over the images.
        stopped: `finished`, or `early` where validation no longer got better.
        best_step: Optimizer steps done at the best look at the validation part; None without patience, or where there
            is no validation.
        metrics: `loss` and the objective's own of the last step, and those of the validation part as
            `validation.<name>`: of the best step where there is one, else of the last look.
        log: The log, JSON lines.
        seconds: Of all sessions of a resumed run together, without what a kill lost.
        images_per_s: Images trained on a second, validation and checkpoints included.
        encoder_state: The encoder's weights, float32 on the CPU: of the best step where there is one, else of the last.
    """

    steps: int
    epochs: float
    stopped: Literal["finished", "early"]
    best_step: int | None
    metrics: dict[str, float]
    log: Path
    seconds: float
    images_per_s: float
    encoder_state: dict[str, Tensor]


@dataclass(slots=True)
class RunState:
    """How far a run came.

    Attributes:
        step: Optimizer steps done.
        seconds: Spent on them.
        stopped: As in `TrainingResult`; None while it runs.
        metrics: Of the last step.
        validation: Of the last look.
        best: The best look.
        divergence: The losses so far.
    """

    step: int = 0
    seconds: float = 0.0
    stopped: Literal["finished", "early"] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    best: BestSoFar = field(default_factory=BestSoFar)
    divergence: Divergence = field(default_factory=Divergence)

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors, for the checkpoint."""
        plain = {name: getattr(self, name) for name in ("step", "seconds", "stopped", "metrics", "validation")}
        return {**plain, "best": self.best.to_dict(), "divergence": self.divergence.state()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """The reverse."""
        divergence = Divergence()
        divergence.restore(raw["divergence"])
        return cls(**{**raw, "best": BestSoFar(**raw["best"]), "divergence": divergence})
