"""The JSON document of the command that trains heads on frozen vectors."""

from typing import Any

from pydantic import Field

from locatlas.query.documents.asking import EncoderName, ProfileName
from locatlas.query.documents.base import Document as _Document
from locatlas.query.documents.trained_on import TRAINED_ON, TrainedOn

__all__ = ["ProbeDocument"]


class SeedScores(_Document):
    """A score over the seeds."""

    mean: float = Field(ge=0, le=1)
    sd: float | None = Field(description="sample standard deviation (n - 1) over the seeds; null with one seed")
    ci95: list[float] | None = Field(description="bootstrap of the mean over groups: low, high")
    seeds: list[float] = Field(description="of each seed")


class HeadSteps(_Document):
    """Optimizer steps of the heads that were kept."""

    median: float
    min: int
    max: int


class ProbePoint(_Document):
    """Scores at one fraction of the groups."""

    fraction: float = Field(gt=0, le=1)
    macro_f1: SeedScores
    micro_f1: SeedScores
    accuracy: SeedScores
    balanced_accuracy: SeedScores
    per_class_f1: dict[str, float | None] = Field(description="mean over the seeds")
    n_train: float = Field(description="rows that a head is trained on, mean over folds and seeds")
    n_train_groups: float
    n_validation: float = Field(description="rows that stop its training")
    n_validation_groups: float
    steps: HeadSteps


class HeadSettings(_Document):
    """How heads are trained."""

    head: dict[str, Any] = Field(description="kind, widths of the hidden layers, dropout")
    labels: str
    loss: str = Field(pattern="^(ce|bce|focal)$")
    steps: int = Field(description="most optimizer steps")
    batch_size: int
    lr: float
    weight_decay: float
    threshold: float = Field(description="of the scores, multi-label")


class ProbeDocument(_Document):
    """The answer of `probe`."""

    what: str = Field(description="frozen backbone, trained head (what the paper calls zero-shot)")
    level: str
    label_source: str | None = Field(default=None, description="inherited or annotated, where images are cells")
    profile: ProfileName | None = None
    encoder: EncoderName
    protocol: str = Field(pattern="^kfold$")
    group: str
    labels: str
    n: int = Field(description="rows that were scored")
    n_rows: int = Field(description="rows that took part: scored, or only trained on")
    n_groups: int = Field(description="groups of the rows that were scored")
    folds: int
    seeds: list[int]
    classes: list[str]
    support: dict[str, int] = Field(description="scored rows of each class")
    results: list[ProbePoint] = Field(description="by fraction, ascending")
    head: HeadSettings
    trained_on: TrainedOn | None = TRAINED_ON
    left_out: dict[str, int] = Field(description="rows that took no part, by reason")
    lone_labels: dict[str, int] = Field(description="rows whose class no row outside their fold has")
    notes: list[str] = Field(description="what a reader must know")
    definitions: dict[str, str] = Field(description="what each number means, in words")
    versions: dict[str, str]
