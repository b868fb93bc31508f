"""What a user asks of a fine-tuning or a pretraining, and the settings that follow from it. Pure; imports no torch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from locatlas.errors import InputError
from locatlas.models.spec import Precision
from locatlas.models.training.heads import HeadKind
from locatlas.models.training.plan import TrainingPlan

if TYPE_CHECKING:
    from locatlas.models.training.dino_options import DinoOptions

__all__ = ["FinetuneRequest", "ObjectiveName", "settled_plan"]

ObjectiveName = Literal["supervised", "dino"]

_PASSES = {"supervised": 20, "dino": 30, "pretrain": 100}
_LEAST_STEPS = {"supervised": 100, "dino": 300, "pretrain": 500}
_MOST_STEPS = {"supervised": 4000, "dino": 10_000, "pretrain": 50_000}
"""Passes over the images, but so many steps: a few hundred images need more passes, a million fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneRequest:
    """What is trained, on what, for how long. None where the default is to be taken.

    Attributes:
        objective: `supervised`: encoder and a head on annotated localizations; `dino`: self-distillation, no labels.
        level: "fov" or "cell"; None for the first that has a current encoder, FOVs before cells.
        encoder: Encoder to begin from, by name or fingerprint; None for the current one.
        from_scratch: Take the encoder's architecture, slots and transforms, but random weights made from `seed`.
        architecture: With `from_scratch`, another architecture in the encoder's place.
        group: Column whose values are not split between what is trained on, stopped by, and held out.
        hold_out: Share of the groups that is set aside before anything is looked at, in [0, 1). None for the groups
            that the encoder's own training held out, 0.2 where there are none of these in the atlas.
        fraction: Share of the other groups that is used, in (0, 1].
        validation: Share of these by which a supervised training is stopped, in [0, 1).
        split_seed: Of held-out part, fraction and validation part.
        where: Filters on the images.
        labels: `single` takes images with exactly one localization, `multi` all annotated ones.
        label_source: Whose localizations, of cells: `inherited` or `annotated`.
        map_labels: Map that brings localizations into one vocabulary.
        head: Of `supervised`.
        blocks: Number of last blocks that are trained; None for all.
        epochs: Passes over the images; or
        steps: optimizer steps. None of the two for `settled_plan`'s.
        batch_size: Images a step; None for `settled_plan`'s, and so are `lr` and `precision`.
        lr: Peak learning rate.
        layer_decay: Factor of the learning rate from a block to the one before it.
        accumulate: Parts that a process takes its share of the batch in.
        precision: Of the training; that of the encoder stays.
        patience: Looks at the validation part without a better one after which training stops.
        seed: Of everything random but the split.
        dino: Settings of DINO.
    """

    objective: ObjectiveName = "supervised"
    level: str | None = None
    encoder: str | None = None
    from_scratch: bool = False
    architecture: str | None = None
    group: str = "protein"
    hold_out: float | None = None
    fraction: float = 1.0
    validation: float = 0.15
    split_seed: int = 0
    where: tuple[str, ...] = ()
    labels: Literal["single", "multi"] = "single"
    label_source: Literal["inherited", "annotated"] = "inherited"
    map_labels: str | None = None
    head: HeadKind = "linear"
    blocks: int | None = None
    epochs: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    layer_decay: float | None = None
    accumulate: int = 1
    precision: Precision | None = None
    patience: int = 5
    seed: int = 0
    dino: "DinoOptions | None" = field(default=None)

    def __post_init__(self) -> None:
        if self.objective not in get_args(ObjectiveName):
            message = f"objective {self.objective!r}: one of {', '.join(get_args(ObjectiveName))} needed"
            raise InputError(message)
        if self.epochs is not None and self.steps is not None:
            message = "the length of a training is given in epochs or in steps, not in both"
            raise InputError(message)
        if (self.batch_size is not None and self.batch_size < 1) or (self.lr is not None and self.lr <= 0):
            message = f"batch size {self.batch_size}, learning rate {self.lr}: at least 1 and more than 0 needed"
            raise InputError(message)
        hold_out = 0.0 if self.hold_out is None else self.hold_out
        if not (0 <= hold_out < 1 and 0 <= self.validation < 1 and 0 < self.fraction <= 1):
            message = (
                f"hold-out {self.hold_out}, validation {self.validation}, fraction {self.fraction}: in [0, 1), [0, 1) "
                "and (0, 1] needed"
            )
            raise InputError(message)
        if self.architecture is not None and not self.from_scratch:
            message = "another architecture has no weights to begin from: it belongs to a training from scratch"
            raise InputError(message)
        if self.objective == "dino" and (self.map_labels or self.label_source == "annotated" or self.head != "linear"):
            message = "objective dino takes no labels: head, label source and label map do not fit it"
            raise InputError(message)
        if self.objective == "supervised" and (self.dino is not None or self.from_scratch):
            message = "settings of DINO, and random weights, belong to objective dino"
            raise InputError(message)
        object.__setattr__(self, "where", tuple(self.where))

    def to_dict(self) -> dict[str, Any]:
        """All that was asked for, JSON-ready: two requests are the same training where these are equal."""
        return {**dataclasses.asdict(self), "where": list(self.where)}


def settled_plan(request: FinetuneRequest, n_images: int, *, cuda: bool, free: Mapping[str, Any]) -> TrainingPlan:
    """Length, rates, batch and precision of a training.

    Args:
        request: What was asked for.
        n_images: Images an epoch.
        cuda: Whether it runs on a GPU that multiplies bf16, where bf16 is then the default.
        free: Settings that do not decide the result: `device`, `workers`, `tensorboard`.
    """
    kind = "pretrain" if request.from_scratch else request.objective
    own = min(64, max(16, 1 << (max(1, n_images // 16).bit_length() - 1)))
    batch = own if request.batch_size is None else request.batch_size
    steps, epochs = request.steps, request.epochs
    if steps is None and epochs is None:
        steps = min(_MOST_STEPS[kind], max(_LEAST_STEPS[kind], round(_PASSES[kind] * n_images / batch)))
    # DINO's rule, 5e-4 a batch of 256 (main_dino.py), for an encoder that knows something already; a small head on
    # a few hundred labels needs more
    lr = {"supervised": 2e-4, "dino": 5e-4 * batch / 256, "pretrain": 5e-4}[kind]
    return TrainingPlan(
        steps=steps,
        epochs=epochs,
        batch_size=batch,
        accumulate=request.accumulate,
        lr=lr if request.lr is None else request.lr,
        weight_decay=0.04,
        weight_decay_end=0.4 if request.objective == "dino" else None,  # main_dino.py
        precision=request.precision or ("bf16" if cuda else "fp32"),
        seed=request.seed,
        patience=request.patience if request.objective == "supervised" else None,
        **free,
    )
