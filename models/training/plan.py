"""How a network is trained: length, rates, precision, seed. Frozen data."""

import dataclasses
from dataclasses import dataclass
from typing import Any, get_args

from locatlas.errors import InputError
from locatlas.models.spec import Precision

__all__ = ["Device", "TrainingPlan"]

Device = str
"""`auto`, or torch's name of one."""

_LEAST = (
    *((name, 1) for name in ("steps", "batch_size", "accumulate", "workers", "validate_every", "patience")),
    *((name, 0) for name in ("seed", "lr_end", "weight_decay", "weight_decay_end", "checkpoint_every_s")),
)
"""Smallest value of each setting; None is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What the training loop needs to know beside the objective. Decides the result, but for the last four.

    Attributes:
        steps: Optimizer steps in all; None where `epochs` says so.
        epochs: Passes over the images, need not be whole; None where `steps` says so.
        batch_size: Images an optimizer step, over all processes and accumulated parts together.
        accumulate: Parts that a process takes its share of the batch in, one after the other.
        lr: Peak learning rate at this batch size; not scaled by it.
        lr_end: Learning rate at the end of the cosine.
        warmup: Share of all steps in which the rate rises linearly from 0, in [0, 1).
        weight_decay: At the start; not on biases, norms, tokens and positions.
        weight_decay_end: At the end of its cosine; None for the same.
        clip: Largest norm of the gradient; None for any.
        precision: `bf16` runs under autocast, weights and optimizer stay float32.
        seed: Of everything random. All randomness is a function of (seed, step, image), so that a run that was killed
            and resumed is the run that was not.
        validate_every: Steps between looks at the validation part; None for once an epoch (at least every step).
        patience: Looks without a better one after which training stops early; None never does.
        checkpoint_every_s: Seconds between checkpoints.
        workers: Threads that prepare images.
        device: Where it runs.
        tensorboard: Whether the log is also written for TensorBoard (extra `tensorboard`).
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-4
    lr_end: float = 1e-6
    warmup: float = 0.1
    weight_decay: float = 0.04
    weight_decay_end: float | None = None
    clip: float | None = 3.0
    precision: Precision = "fp32"
    seed: int = 0
    validate_every: int | None = None
    patience: int | None = None
    checkpoint_every_s: float = 60.0
    workers: int = 2
    device: Device = "auto"
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            message = f"training needs either steps or epochs, got steps {self.steps} and epochs {self.epochs}"
            raise InputError(message)
        for name, least in _LEAST:
            value = getattr(self, name)
            if value is not None and value < least:
                message = f"training: {name} {value}: at least {least} needed"
                raise InputError(message)
        if self.clip is not None and self.clip <= 0:
            message = f"training: clip {self.clip}: more than 0 needed, or None for gradients of any length"
            raise InputError(message)
        if self.precision not in get_args(Precision):
            message = f"training: precision {self.precision!r}: one of {', '.join(get_args(Precision))} needed"
            raise InputError(message)
        if (self.epochs is not None and self.epochs <= 0) or self.lr <= 0 or not 0 <= self.warmup < 1:
            message = (
                f"training: epochs {self.epochs}, lr {self.lr}, warmup {self.warmup}: > 0, > 0 and in [0, 1) needed"
            )
            raise InputError(message)

    def n_steps(self, n_images: int) -> int:
        """Optimizer steps in all, at least 1, for so many images an epoch."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * n_images / self.batch_size))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)
