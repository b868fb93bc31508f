"""What documents of commands that measure an encoder say of its training."""

from pydantic import Field

from locatlas.query.documents.base import Document as _Document

__all__ = ["TRAINED_ON", "TrainedOn"]


class TrainedOn(_Document):
    """What the encoder saw in training of the rows that could be evaluated."""

    encoder: str
    objective: str = Field(description="supervised or dino")
    level: str = Field(description="of the images that it was trained on")
    split_by: str = Field(description="column whose values were not split between training and held-out part")
    fraction: float = Field(description="share of the groups that were not held out which it was trained on")
    n_images: int = Field(ge=0, description="images it was trained on, in this atlas or not")
    n_validation_images: int = Field(ge=0, description="images by which training was stopped")
    group: str = Field(description="column of the evaluated groups")
    n_rows: int = Field(ge=0, description="rows that could be evaluated")
    n_seen_rows: int = Field(ge=0, description="of these, seen in training")
    n_groups: int = Field(ge=0, description="groups of the rows that could be evaluated")
    n_seen_groups: int = Field(ge=0, description="of these, with rows that were seen in training")
    evaluated: str = Field(
        pattern="^(unseen|held-out|all)$",
        description="unseen: everything, and nothing of it was seen; held-out: only what was not seen; all: everything",
    )
    n_evaluated_rows: int = Field(ge=0)
    n_evaluated_groups: int = Field(ge=0)
    definition: str = Field(description="when a row counts as seen")


TRAINED_ON = Field(description="overlap with what the encoder was trained on; null where that is not known")
