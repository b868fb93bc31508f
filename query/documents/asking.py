"""The JSON documents of the commands that ask and measure an atlas."""

from typing import Any

from pydantic import Field

from locatlas.query.documents.base import Document as _Document
from locatlas.query.documents.trained_on import TRAINED_ON, TrainedOn

__all__ = [
    "LABEL_SOURCE",
    "PROFILE",
    "ClassifyDocument",
    "EncoderName",
    "NeighborsDocument",
    "ProfileName",
    "ProteinsDocument",
    "SweepDocument",
]


class EncoderName(_Document):
    """An encoder by name and fingerprint."""

    name: str
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")


class ProfileName(_Document):
    """What a protein is made of."""

    how: str = Field(pattern="^(mean|medoid)$")
    of: str = Field(pattern="^(fov|cell)$")


LABEL_SOURCE = Field(
    default=None, description="inherited or annotated, where images are cells; null for FOVs, which only inherit"
)
PROFILE = Field(default=None, description="at level protein what a protein is made of; else null")


class Hit(_Document):
    """One neighbor."""

    rank: int = Field(ge=1)
    id: str
    protein: str | None
    similarity: float = Field(description="cosine, in [-1, 1] up to rounding")
    localizations: list[str]
    medoid: str | None = Field(default=None, description="with profile medoid: the image whose vector the protein has")


class SimilarityNumbers(_Document):
    """Cosines of pairs of a protein's images, of different fields, and of pairs with images of other proteins."""

    n_images: int
    n_within: int = Field(description="pairs within that were taken")
    within: float | None = Field(description="their mean; null where there are none")
    n_between: int
    between: float | None
    between_sd: float | None
    auc: float | None = Field(description="probability that a pair within is more similar than one between")
    same_plate_within: float | None = Field(
        description="share of the pairs on one plate; null where plates are unknown"
    )
    same_plate_between: float | None


class SimilarityContext(SimilarityNumbers):
    """Whether a list of a protein's neighbors means anything."""

    of: str = Field(description="images that were compared: fov or cell")
    said: str = Field(description="the same in one line")
    sampled: list[str] = Field(description="what was drawn at random, where pairs are too many")
    definitions: dict[str, str]


class NeighborsDocument(_Document):
    """The answer of `neighbors`, nearest first."""

    query: dict[str, Any] = Field(
        description="protein, with ensembl_id where it was named by that; id; or image, and at: y, x of a cell in it"
    )
    level: str
    label_source: str | None = LABEL_SOURCE
    profile: ProfileName | None = PROFILE
    exact: bool
    encoder: EncoderName
    exclude: str
    hits: list[Hit]
    similarity_context: SimilarityContext | None = Field(description="of a protein; null for an image")
    notes: list[str] = Field(description="what a reader must know")


class Score(_Document):
    """A localization and the share of the neighbors' weight that carries it."""

    localization: str
    score: float = Field(ge=0, le=1 + 1e-9)


class ClassifiedItem(_Document):
    """One classified image or protein."""

    id: str
    protein: str | None
    annotated: list[str]
    predicted: list[Score]
    scores: list[Score]
    neighbors: list[str] = Field(description="ids that voted, nearest first")
    similarities: list[float]


class CellVotes(_Document):
    """Cells by their top class."""

    localization: str
    cells: int


class ClassifiedUnit(_Document):
    """A field or protein, classified by the votes on its cells."""

    id: str
    protein: str | None
    n_cells: int = Field(description="cells with a vote")
    n_silent: int = Field(description="cells of which no labelled neighbor was left to vote")
    annotated: list[str] = Field(description="localizations of its cells, joined")
    predicted: list[Score]
    top: str | None = Field(description="the one with the highest score")
    scores: list[Score]
    votes: list[CellVotes]
    heterogeneity: float | None = Field(description="share of cells whose top class is not their most frequent one")
    entropy: float | None = Field(description="of the top classes, 0 to 1")


class ClassifyDocument(_Document):
    """The answer of `classify`."""

    level: str
    label_source: str | None = LABEL_SOURCE
    profile: ProfileName | None = PROFILE
    exclude: str = Field(description="what a query never meets")
    exact: bool
    k: int
    weights: str
    encoder: EncoderName
    items: list[ClassifiedItem] = Field(description="empty where votes of cells are put together")
    units: list[ClassifiedUnit] = Field(description="fields or proteins whose cells' votes are put together")
    by: str | None = Field(default=None, description="what the units are")
    how: str | None = Field(default=None, description="mean, majority or top")
    top: float | None = Field(default=None, description="with how top: share of the most confident cells")
    notes: list[str] = Field(description="what a reader must know")


class SweepPoint(_Document):
    """Scores at one k with one kind of vote."""

    k: int = Field(ge=1)
    weights: str
    macro_f1: float | None
    macro_f1_sd: float | None = Field(description="of macro_f1_folds; null for leave-group-out")
    macro_f1_folds: list[float | None] = Field(description="macro F1 of each fold over the classes present in it")
    macro_f1_ci95: list[float] | None = Field(description="bootstrap over groups: low, high")
    micro_f1: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    per_class_f1: dict[str, float | None]


class SweepDocument(_Document):
    """The answer of `sweep`."""

    level: str
    label_source: str | None = LABEL_SOURCE
    profile: ProfileName | None = PROFILE
    trained_on: TrainedOn | None = TRAINED_ON
    protocol: str
    group: str
    by: str | None = Field(description="what was scored: fields, proteins, ...; null for images")
    n: int = Field(description="images or units that were scored")
    n_rows: int = Field(description="images that took part")
    n_queries: int = Field(
        description="of these, scored; the others only voted: seen in training, or not in the sample"
    )
    n_groups: int
    classes: list[str]
    results: list[SweepPoint]
    left_out: dict[str, int] = Field(description="rows not evaluated, by reason")
    lone_labels: dict[str, int] = Field(description="rows whose class no reference has: they can only be wrong")
    products: dict[str, int] = Field(description="queries by the products that found their neighbors")
    notes: list[str] = Field(description="what a reader must know")
    definitions: dict[str, str] = Field(description="what each number means, in words")


class ProteinRow(SimilarityNumbers):
    """One protein."""

    protein: str
    n_fovs: int = Field(description="fields in the atlas")
    n_cells: int = Field(description="cells in the atlas")
    localizations: list[str]
    heterogeneity: float | None = Field(description="of the votes on its cells; null without k")
    entropy: float | None
    map: float | None = Field(description="mean average precision; null without --map")
    map_normalized: float | None
    map_p: float | None
    map_p_fdr: float | None


class ProteinsDocument(_Document):
    """The answer of `proteins`."""

    of: str = Field(description="images that were compared: fov or cell")
    label_source: str | None = LABEL_SOURCE
    encoder: EncoderName
    k: int | None
    sort: str
    worst_first: bool
    proteins: list[ProteinRow]
    overall: SimilarityNumbers
    notes: list[str] = Field(description="what a reader must know")
    definitions: dict[str, str] = Field(description="what each number means, in words")
