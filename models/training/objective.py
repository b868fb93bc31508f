"""What the training loop asks of an objective, and what an objective asks of the images. Protocols only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Objective", "TrainingImages", "Validation"]


class TrainingImages(Protocol):
    """Images to train on, of one set of channels."""

    channels: tuple[str, ...]
    """Meaning of each plane, in order; those the encoder's plan uses."""

    def __len__(self) -> int: ...

    def channels_of(self, i: int) -> tuple[str, ...]:
        """The channels that image i has: all, or fewer of them in the same order, where the plan is one joint pass."""
        ...

    def planes(self, i: int) -> Tensor:
        """The channels of image i scaled and resized by its encoder's spec, without standardizing, mean, sd, padding.

        Returns:
            Float32, (channels, h, w), in [0, 1]; exactly 0 in all channels where it is blank. A fresh or shared tensor
            that the caller does not change. Safe to call from several threads.
        """
        ...


@dataclass(frozen=True, slots=True)
class Validation:
    """How well the objective does on the validation part.

    Attributes:
        score: What early stopping goes by; higher is better.
        metrics: By name, for the log; `score` under its own name is among them.
    """

    score: float
    metrics: Mapping[str, float]


class Objective(Protocol):
    """A loss over batches of images, and the networks that it trains.

    The loop calls, for each optimizer step: `batch` (in threads, ahead of time), `module(batch, step)` under autocast,
    once per accumulated part, backward, clip, optimizer, `after_step`; from time to time `validate`. All state that a
    resumed run needs is in `module.state_dict()`: parameters, teacher, centre.
    """

    name: str
    n_images: int
    """Images an epoch."""

    @property
    def module(self) -> nn.Module:
        """`module(batch, step)` gives (loss, metrics): a scalar tensor and detached scalar tensors by name.

        The parameters that are to be trained, and only they, have `requires_grad`.
        """
        ...

    def start(self, n_steps: int, device: torch.device) -> None:
        """Called once, before the first step or after the state was resumed: the length of all schedules."""

    def indices(self, step: int, batch_size: int) -> Sequence[int]:
        """The images of a step, over all processes: a function of (seed, step) alone, e.g. class-balanced."""

    def batch(self, indices: Sequence[int], step: int) -> Any:
        """Read and augment: tensors on the CPU, nested in tuples or lists. A function of (seed, step, index) alone."""

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """For AdamW: `params`, and `lr_scale` and `decays` (bool), which the loop multiplies into its schedules."""

    def after_step(self, step: int) -> None:
        """E.g. move the teacher."""

    def check(self, metrics: Mapping[str, float], step: int) -> None:
        """Look at a step's metrics, averaged over processes.

        Raises:
            TrainingStoppedError: If the features collapsed; the loop itself looks for losses that are not finite or
                that explode.
        """

    def validate(self) -> Validation | None:
        """Score on the validation part, None where there is none. Random state and training mode stay as they were."""

    def encoder_state(self) -> dict[str, Tensor]:
        """The encoder's weights under the names of `vit.weights_module(network).state_dict()`, float32 on the CPU."""
