"""Settings of DINO: crops, head, temperatures, momentum. Frozen data."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from locatlas.errors import InputError
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.augment import Augmentation

__all__ = ["DinoOptions"]

Balance = Literal["centre", "sinkhorn"]

_OWN_SIZE_PX = 224
"""Edge of the large crops where the encoder takes images at their own size: that of DINO and DINO4Cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DinoOptions:
    """Settings of DINO. Defaults are those of DINO4Cells (main_dino.py, config.yaml) unless it says otherwise.

    Attributes:
        global_px: Edge of the two large crops, a multiple of the patch; None for the encoder's input size.
        local_px: Edge of the small crops; None for 3/7 of the large ones' (96 for 224), at least two patches.
        n_local: Number of small crops; 0 for none.
        global_scale: Least and largest share of the image's area that a large crop takes.
        local_scale: The same for small ones.
        prototypes: Outputs of the head. DINO has 65,536, for a million images; 4096 suit thousands.
        bottleneck: Length of the vectors that are compared with the prototypes.
        hidden: Width of the head's two hidden layers.
        batch_norm: Whether what enters the head, and each of its layers, is brought to mean 0 and SD 1 over the batch
            (DINO's `use_bn_in_head`, off there): a network that knows nothing yet gives all images almost the same
            vector, and this is what tells them apart. Over the part of a batch that a process has at once.
        momentum: Share of itself that the teacher keeps in a step, at the start; rises to 1 in a cosine. DINO4Cells and
            DINO: 0.996.
        balance: What keeps the teacher from always saying the same: `centre`, DINO's running mean of its scores, or
            `sinkhorn`, DINOv2's equal use of all prototypes in every batch (with accumulation: in every part of one),
            for which prototypes should be no more than twice the images of a batch.
        center_momentum: Share of itself that the centre keeps in a step.
        teacher_temp: Temperature of the teacher, after its warm-up.
        teacher_temp_start: At the start.
        teacher_temp_warmup: Share of all steps in which it goes from one to the other, in [0, 1).
        student_temp: Temperature of the student.
        freeze_last_layer: Share of all steps, from the first, in which the prototypes stand still, in [0, 1]; DINO: one
            epoch in a hundred.
        drop_channel: As in `Augmentation`; so are the following.
        drop_most: Most stains lost at once.
        rescale_protein: Probability.
        brightness: Range of the factors.
        contrast: Range of the factors.
        flips: Mirror.
        rotations: Turn by quarters; DINO4Cells only mirrors, but a cell has no up.
    """

    global_px: int | None = None
    local_px: int | None = None
    n_local: int = 8
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    prototypes: int = 4096
    bottleneck: int = 256
    hidden: int = 2048
    batch_norm: bool = False
    momentum: float = 0.996
    balance: Balance = "centre"
    center_momentum: float = 0.9
    teacher_temp: float = 0.04
    teacher_temp_start: float = 0.04
    teacher_temp_warmup: float = 0.1
    student_temp: float = 0.1
    freeze_last_layer: float = 0.01
    drop_channel: float = 0.2
    drop_most: int = 1
    rescale_protein: float = 0.2
    brightness: float = 0.35
    contrast: float = 0.35
    flips: bool = True
    rotations: bool = True

    def __post_init__(self) -> None:
        if self.balance not in get_args(Balance):
            message = f"DINO: balance {self.balance!r}, allowed: {', '.join(get_args(Balance))}"
            raise InputError(message)
        for name, least in (("n_local", 0), ("prototypes", 2), ("bottleneck", 1), ("hidden", 1)):
            if getattr(self, name) < least:
                message = f"DINO: {name} {getattr(self, name)}: at least {least} needed"
                raise InputError(message)
        for name in ("momentum", "center_momentum", "teacher_temp_warmup", "freeze_last_layer"):
            if not 0 <= getattr(self, name) <= 1:
                message = f"DINO: {name} {getattr(self, name)}: in [0, 1] needed"
                raise InputError(message)
        for name in ("teacher_temp", "teacher_temp_start", "student_temp"):
            if getattr(self, name) <= 0:
                message = f"DINO: {name} {getattr(self, name)}: > 0 needed"
                raise InputError(message)
        assert self.global_crops
        assert self.local_crops  # both check their own values

    @property
    def global_crops(self) -> Augmentation:
        """How large crops are varied."""
        return self._crops(self.global_scale)

    @property
    def local_crops(self) -> Augmentation:
        """How small crops are varied."""
        return self._crops(self.local_scale)

    def _crops(self, scale: tuple[float, float]) -> Augmentation:
        return Augmentation(
            scale=scale,
            flips=self.flips,
            rotations=self.rotations,
            brightness=self.brightness,
            contrast=self.contrast,
            rescale_protein=self.rescale_protein,
            drop_channel=self.drop_channel,
            drop_most=self.drop_most,
        )

    def global_edge(self, spec: EncoderSpec, patch_px: int) -> int:
        """Edge of the large crops in pixels.

        Raises:
            InputError: If it is no multiple of the patch, or less than two.
        """
        wanted = self.global_px or math.ceil((spec.input_px or _OWN_SIZE_PX) / patch_px) * patch_px
        return _checked("global_px", wanted, patch_px)

    def local_edge(self, spec: EncoderSpec, patch_px: int) -> int:
        """Edge of the small crops in pixels.

        Raises:
            InputError: As `global_edge`.
        """
        own = max(2, round(self.global_edge(spec, patch_px) * 3 / 7 / patch_px)) * patch_px
        return _checked("local_px", self.local_px or own, patch_px)

    def momentum_at(self, step: int, n_steps: int) -> float:
        """Share of itself that the teacher keeps in this step: 1 - (1 - momentum) (1 + cos(pi step / n)) / 2."""
        return 1 - (1 - self.momentum) * (1 + math.cos(math.pi * step / n_steps)) / 2

    def teacher_temp_at(self, step: int, n_steps: int) -> float:
        """Temperature of the teacher in this step."""
        warmup = self.teacher_temp_warmup * n_steps
        if step >= warmup:
            return self.teacher_temp
        return self.teacher_temp_start + (self.teacher_temp - self.teacher_temp_start) * step / warmup

    def frozen_steps(self, n_steps: int) -> int:
        """Steps at the start in which the prototypes stand still."""
        return round(self.freeze_last_layer * n_steps)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


def _checked(name: str, edge: int, patch_px: int) -> int:
    if edge % patch_px or edge < 2 * patch_px:
        message = f"DINO: {name} {edge}: a multiple of the patch of {patch_px} px, and at least two of them, needed"
        raise InputError(message)
    return edge
