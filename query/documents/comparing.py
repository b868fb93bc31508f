"""The JSON document of `compare`."""

from pydantic import Field

from locatlas.query.documents.asking import LABEL_SOURCE, PROFILE, EncoderName, ProfileName
from locatlas.query.documents.base import Document as _Document
from locatlas.query.documents.trained_on import TRAINED_ON, TrainedOn

__all__ = ["CompareDocument"]


class EncoderPair(_Document):
    """The two encoders."""

    new: EncoderName
    old: EncoderName


class TrainedOnPair(_Document):
    """What each saw in training."""

    new: TrainedOn | None = TRAINED_ON
    old: TrainedOn | None = TRAINED_ON


class NeighborAgreement(_Document):
    """How far neighbors agree."""

    overlap: float = Field(ge=0, le=1, description="mean share of common neighbors among the k nearest")
    overlap_sd: float | None = Field(description="sample standard deviation over rows; null for one row")
    overlap_ci95: list[float] | None = Field(description="bootstrap over groups: low, high; null for one group")
    chance: float = Field(ge=0, le=1, description="overlap that two unrelated rankings are expected to have")
    rank_change: float = Field(ge=0, description="mean change of rank of the k nearest by either encoder")


class ScoreDifference(_Document):
    """A score by both encoders, on the same rows."""

    new: float
    old: float
    difference: float = Field(description="new - old")
    ci95: list[float] | None = Field(description="of the difference, bootstrap over groups; null with too few groups")
    support: int = Field(description="rows that have the class; all, for macro F1")
    n_groups: int = Field(description="groups of these")


class ClassificationChange(_Document):
    """k-NN localization by both encoders."""

    labels: str = Field(pattern="^(single|multi)$")
    weights: str
    n: int = Field(description="rows scored")
    n_voters: int = Field(description="labelled rows that vote")
    macro_f1: ScoreDifference
    per_class_f1: dict[str, ScoreDifference]
    left_out: dict[str, int] = Field(description="rows that do not vote, by reason")


class MovedGroup(_Document):
    """A protein or group, and how far its rows moved."""

    name: str
    n_rows: int
    moved: float = Field(ge=0, le=1, description="1 - overlap")
    overlap: float
    rank_change: float


class CompareDocument(_Document):
    """The answer of `compare`."""

    level: str
    label_source: str | None = LABEL_SOURCE
    profile: ProfileName | None = PROFILE
    encoders: EncoderPair
    trained_on: TrainedOnPair
    k: int = Field(ge=1)
    group: str
    by: str = Field(description="what `moved` lists: protein, or the group where proteins are unknown")
    n_rows: int = Field(description="rows that both encoders have; all of them are references")
    n_queries: int = Field(description="of these, scored: those that neither encoder was trained on, unless allowed")
    n_groups: int = Field(description="groups of the scored rows")
    neighbors: NeighborAgreement
    classification: ClassificationChange | None = Field(description="null where too few rows are labelled")
    moved: list[MovedGroup] = Field(description="what moved most first")
    left_out: dict[str, int] = Field(description="rows that take no part, by reason")
    excluded: list[str] = Field(description="what never meets beside the own group")
    seed: int
    where: list[str]
    map_labels: str | None
    notes: list[str] = Field(description="what a reader must know")
    definitions: dict[str, str] = Field(description="what each number means, in words")
