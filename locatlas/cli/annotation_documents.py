"""The JSON documents of `annotate`, as pydantic models; see `locatlas.cli.documents`."""

from pydantic import Field

from locatlas.query.documents.base import Document as _Document

__all__ = ["AnnotateExportDocument", "AnnotateImportDocument", "AnnotateReportDocument"]


class AnnotateExportDocument(_Document):
    """What `annotate export` wrote."""

    folder: str
    sheet: str
    level: str
    choose: str
    seed: int
    n: int = Field(ge=1, description="images written")
    eligible: int = Field(description="images that could be chosen")
    left_out: dict[str, int] = Field(description="images that could not, by reason")
    pictures: dict[str, int] = Field(description="by where the pixels are from: source, thumbnail")
    labels: list[str] = Field(description="labels that may be written")


class AnnotateImportDocument(_Document):
    """What `annotate import` did."""

    annotator: str
    decisions: int
    new: int
    changed: int = Field(description="replaced another decision of the same annotator")
    unchanged: int
    skipped: int = Field(description="lines without a decision")
    none: int = Field(description="decisions that none can be seen")
    cells_updated: int
    disputed: list[str] = Field(description="ids of this sheet on which annotators do not agree")


class AnnotatorCounts(_Document):
    """What one annotator decided."""

    annotator: str
    n: int
    none: int
    several: int
    changed: int = Field(description="images that are others now: these decisions do not count")
    gone: int = Field(description="images that are not there now")
    first_at: str
    last_at: str


class KappaNumber(_Document):
    """Cohen's kappa, or why there is none."""

    kappa: float | None
    n: int
    reason: str | None


class KappaPerClass(KappaNumber):
    """The mean over classes, and each class."""

    per_class: dict[str, KappaNumber]


class AnnotatorPair(_Document):
    """Agreement of two annotators."""

    annotators: list[str]
    n: int = Field(description="images both looked at")
    equal: float | None
    single_label: KappaNumber
    multi_label: KappaPerClass


class Decision(_Document):
    """What one annotator said of one image."""

    annotator: str
    localizations: list[str]
    note: str | None
    at: str


class DisputedImage(_Document):
    """An image on which annotators do not agree."""

    id: str
    decisions: list[Decision]


class InheritedLabel(_Document):
    """How often an inherited label holds."""

    n: int
    holds: int
    share: float | None
    seen_elsewhere: int = Field(description="images that it was seen in though they do not inherit it")


class InheritedLabels(_Document):
    """How often inherited labels hold."""

    n: int
    equal: int = Field(description="images whose own localizations are exactly the inherited ones")
    per_class: dict[str, InheritedLabel]


class AnnotateReportDocument(_Document):
    """The answer of `annotate report`."""

    level: str
    images: int
    annotated: int = Field(description="images that somebody looked at")
    agreed: int = Field(description="of these, those that are not disputed")
    annotators: list[AnnotatorCounts]
    pairs: list[AnnotatorPair]
    disputed: list[DisputedImage]
    inherited_holds: InheritedLabels
    notes: list[str] = Field(description="what a reader must know")
    definitions: dict[str, str] = Field(description="what each number means, in words")
