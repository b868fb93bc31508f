"""The JSON documents of what benchmarks stored."""

from pydantic import Field

from locatlas.query.documents.base import Document
from locatlas.query.documents.benchmarking import SummaryRow

__all__ = ["MeasuredDocument", "StoredBenchmarks", "StoredSweeps"]


class StoredSummary(SummaryRow):
    """What was measured with one encoder and plan, over its seeds."""

    data_digest: str = Field(description="of ids, labels, groups and vectors: two encoders never have the same")
    cells: list[str] = Field(description="ids of the measurements")


class StoredBenchmarks(Document):
    """A page of what is stored, the best macro F1 first. Intervals are with `locatlas benchmark`."""

    total: int
    offset: int
    summaries: list[StoredSummary]
    definitions: dict[str, str] = Field(description="what each number means, in words")


class CurvePoint(Document):
    """Scores at one k."""

    k: int
    n_seeds: int
    macro_f1: float
    macro_f1_sd: float | None
    micro_f1: float
    accuracy: float
    balanced_accuracy: float
    cells: list[str] = Field(description="ids of the measurements")


class Curve(Document):
    """Scores over k by one encoder and plan under one protocol."""

    encoder: str
    fingerprints: list[str]
    mapping: str | None
    passes: str | None
    stains: list[str]
    objective: str
    level: str
    labels: str
    protocol: str
    votes: str | None
    fraction: float
    n: int = Field(description="scored rows")
    n_groups: int
    n_classes: int
    data_digest: str = Field(description="of ids, labels, groups and vectors: two encoders never have the same")
    rows: str = Field(
        description="equal where the scored groups and classes are, with as many rows of each class in each group; "
        "which rows they were is not stored"
    )
    points: list[CurvePoint] = Field(description="k ascending")


class StoredSweeps(Document):
    """All curves that are stored, the one with the best point first."""

    curves: list[Curve]
    definitions: dict[str, str] = Field(description="what each number means, in words")


class MeasuredDocument(StoredSummary):
    """One measurement."""

    classes: list[str]
    confusion: list[list[int]] | None = Field(
        description="rows: annotated classes; columns: predicted ones, then none; null for multi-label predictions"
    )
    left_out: dict[str, int] = Field(description="rows that were not scored, by reason")
    notes: list[str]
    definitions: dict[str, str]
