"""The JSON document of `benchmark`."""

from pydantic import Field

from locatlas.query.documents.base import Document as _Document

__all__ = ["BenchmarkDocument"]

_F1 = "over the classes present in the scored rows"


class GridName(_Document):
    """The grid."""

    name: str
    title: str
    question: str
    caution: str = Field(description="when its answer misleads")


class MeasuredPlan(_Document):
    """What a row is about."""

    encoder: str
    mapping: str | None = Field(description="natural, random or replicate; null for imported vectors")
    passes: str | None
    stains: list[str] = Field(description="channels that are used; empty for all")
    objective: str = Field(description="frozen, or how it was fine-tuned before")
    level: str
    labels: str = Field(pattern="^(single|multi)$")
    protocol: str
    classifier: str = Field(description="knn, or the kind of a head")
    k: int | None = Field(description="null for heads")
    votes: str | None
    fraction: float = Field(gt=0, le=1)


class MeasuredCell(MeasuredPlan):
    """One measurement."""

    mapping_seed: int | None
    seed: int
    fingerprint: str = Field(description="of the encoder whose vectors were judged")
    data_digest: str = Field(description="equal for measurements on the same rows, labels and groups")
    n: int = Field(description="scored rows")
    n_groups: int
    n_classes: int
    n_references: float = Field(description="rows that a scored row may meet, or that train a head, in the mean")
    macro_f1: float = Field(ge=0, le=1, description=_F1)
    micro_f1: float
    accuracy: float
    balanced_accuracy: float
    ece: float | None = Field(description="expected calibration error; null without confidences")


class SummaryRow(MeasuredPlan):
    """Cells that differ only in the seed, or in the order of a random plan."""

    n_seeds: int
    n_orders: int = Field(description="orders that a random plan drew; 1 for others")
    seeds: list[int]
    fingerprints: list[str]
    n: int
    n_groups: int
    n_classes: int
    macro_f1: float = Field(ge=0, le=1, description=f"mean over the seeds; {_F1}")
    macro_f1_sd: float | None
    macro_f1_ci95: list[float] | None = Field(description="of the mean, bootstrap over groups: low, high")
    micro_f1: float
    micro_f1_sd: float | None
    micro_f1_ci95: list[float] | None
    accuracy: float
    accuracy_sd: float | None
    accuracy_ci95: list[float] | None
    balanced_accuracy: float
    balanced_accuracy_sd: float | None
    balanced_accuracy_ci95: list[float] | None
    ece: float | None
    support: dict[str, float] = Field(description="scored rows of each class, mean over seeds")
    per_class_f1: dict[str, float | None]


class ComparisonRow(_Document):
    """Two encoders or plans on the same groups."""

    first: str
    second: str
    level: str
    labels: str
    protocol: str
    classifier: str
    k: int | None
    votes: str | None
    fraction: float
    n_groups: int
    n_seeds: int
    difference: float = Field(description="macro F1 of the first less that of the second, means over seeds")
    ci95: list[float] | None
    detectable: float | None = Field(description="difference that would be found with a power of 80 % after correction")
    p: float | None = Field(description="permutation test, groups swapped")
    p_holm: float | None = Field(description="corrected over all comparisons of the grid")


class PublishedNumber(_Document):
    """A number of others; not measured here."""

    name: str
    value: float
    metric: str
    label: str
    condition: str
    source: str
    spread: float | None
    at_least: bool
    level: str
    classifier: str = Field(description="knn or head")
    objective: str = Field(description="frozen or fine-tuned")
    evidence: str = Field(description="abstract: of the paper; summary: by third parties only")


class OrderingRow(_Document):
    """What others say of which does better, and what was measured here."""

    name: str
    text: str
    condition: str = Field(description="what they saw it on, with what is not known")
    source: str
    evidence: str = Field(description="abstract: of the paper; summary: by third parties only")
    better: str = Field(description="encoder and plan that should do better")
    worse: str
    level: str
    labels: str
    protocol: str
    classifier: str
    k: int | None
    fraction: float
    difference: float = Field(description="macro F1 of the one that should do better less that of the other")
    ci95: list[float] | None
    p_holm: float | None
    verdict: str = Field(pattern="^(as published|the opposite|not told apart)$")


class BenchmarkDocument(_Document):
    """What a grid came to."""

    grid: GridName
    n_cells: int
    n_measured: int = Field(description="of them in this run; the others were measured before")
    cells: list[MeasuredCell]
    summaries: list[SummaryRow]
    comparisons: list[ComparisonRow]
    published: list[PublishedNumber]
    orderings: list[OrderingRow]
    left_out: dict[str, int] = Field(description="combinations that were not measured, by reason")
    left_out_rows: dict[str, int] = Field(description="rows that were not scored, by reason: the most over the cells")
    notes: list[str]
    settings: dict[str, object]
    definitions: dict[str, str]
    folder: str
    files: list[str]
