"""The JSON documents of the commands that train an encoder."""

from typing import Any

from pydantic import Field

from locatlas.query.documents.asking import EncoderName
from locatlas.query.documents.base import Document as _Document

__all__ = ["FinetuneDocument"]


class FinetuneDocument(_Document):
    """What `finetune` and `pretrain` did."""

    encoder: EncoderName = Field(description="the new one")
    parent: EncoderName | None = Field(description="the one it began from; null from random weights")
    weights_sha256: str
    objective: str = Field(pattern="^(supervised|dino)$")
    level: str = Field(pattern="^(fov|cell)$")
    group: str = Field(description="column whose values were not split")
    n_images: int = Field(ge=0, description="trained on")
    n_validation_images: int = Field(ge=0, description="by which it was stopped")
    n_groups: int = Field(ge=0, description="of both")
    n_held_out_images: int = Field(ge=0, description="set aside unseen")
    n_held_out_groups: int = Field(ge=0)
    fraction: float = Field(gt=0, le=1, description="share of the groups not held out that was used")
    labels: str | None = Field(description="single or multi; null without labels")
    classes: list[str] = Field(description="that were learned")
    left_out: dict[str, int] = Field(description="images that were not used, by reason")
    metrics: dict[str, float] = Field(
        description="at the end: loss, steps, epochs, seconds, images_per_s, best_step; validation.* of the weights "
        "that were kept; frozen.validation.macro_f1: of the same head on the encoder before, chosen by the same part"
    )
    was_there: bool = Field(description="whether the same training was finished before")
    folder: str = Field(description="of the run")
    log: str
    curve: str | None = Field(description="null where matplotlib is not installed")
    embedded: dict[str, Any] | None = Field(
        description="as the document of embed, without indices; null: not asked for"
    )
    indices: dict[str, str] = Field(description="what look-ups use, by level, in words; empty: not re-embedded")
    notes: list[str]
