"""The JSON document of `report`, which stands in its folder as `report.json`, too."""

from typing import Any

from pydantic import Field

from locatlas.query.documents.asking import EncoderName, NeighborsDocument, ProteinsDocument, SweepDocument
from locatlas.query.documents.base import Document as _Document

__all__ = ["CountedReason", "ReportDocument"]


class CountedDataset(_Document):
    """A data set of the atlas."""

    level: str
    dataset: str
    images: int = Field(ge=0)
    labelled: int = Field(ge=0, description="of these, with a localization")


class CountedLabels(_Document):
    """Images by how many localizations they have."""

    none: int = Field(ge=0)
    one: int = Field(ge=0)
    several: int = Field(ge=0)


class CountedLocalization(_Document):
    """Images of a localization."""

    localization: str
    images: int = Field(ge=0)
    proteins: int = Field(ge=0)
    groups: int = Field(ge=0)


class CountedSplit(_Document):
    """Images of a split that the source names."""

    split: str | None
    images: int = Field(ge=0)


class ReportedData(_Document):
    """What the report looks at."""

    datasets: list[CountedDataset] = Field(description="of the whole atlas")
    images: int = Field(ge=0, description="at the level of the report, with a vector, that pass the filters")
    where: list[str] = Field(description="filters")
    proteins: int = Field(ge=0)
    groups: int = Field(ge=0)
    labels: CountedLabels
    localizations: list[CountedLocalization] = Field(description="most images first; an image counts for each it has")
    splits: list[CountedSplit]


class CountedFlag(_Document):
    """Images with a flag of quality."""

    level: str
    dataset: str
    flag: str
    images: int = Field(ge=1)
    of: int = Field(ge=1, description="images of the data set at the level")


class CountedReason(_Document):
    """Sources that could not be used for one reason."""

    dataset: str
    reason: str = Field(description="of the first source; those of the others differ in names and numbers only")
    sources: int = Field(ge=1)
    examples: list[str] = Field(description="the first three sources")


class ReportedClass(_Document):
    """A class at the shown k."""

    localization: str
    rows: int = Field(ge=0, description="scored rows that have it: its support")
    groups: int = Field(ge=0, description="groups of these")
    f1: float | None = Field(ge=0, le=1)
    tp: int = Field(ge=0)
    fp: int = Field(ge=0)
    fn: int = Field(ge=0)
    taken_for: str | None = Field(description="the other class it is predicted as most; null for none, and multi-label")
    taken_for_rows: int = Field(ge=0)
    lone: int = Field(ge=0, description="rows whose class no reference outside their group or fold has")


class ShownImage(_Document):
    """An image of a gallery."""

    id: str
    protein: str | None
    group: str | None
    annotated: list[str]
    predicted: str | None
    confidence: float = Field(ge=0, le=1, description="share of the vote for `predicted`, own group left out")


class Gallery(_Document):
    """Images that stand for a class."""

    localization: str
    typical: list[ShownImage] = Field(description="have it and are predicted to, highest confidence first")
    confused: list[ShownImage] = Field(description="have it and are not predicted to, highest confidence first")


class ShownNeighbors(NeighborsDocument):
    """Nearest images of a protein, or of an image where no protein is known."""

    asked: str
    own: list[str] = Field(description="ids of the first images of what is asked for")
    labels: list[list[str]] = Field(description="localizations of these")
    n_own: int = Field(ge=0)


class ReportDocument(_Document):
    """What `report` wrote."""

    folder: str
    page: str
    files: list[str] = Field(description="in the folder")
    title: str
    made_on: str = Field(description="ISO date, UTC")
    command: str = Field(description="that makes the report again")
    atlas: str
    level: str = Field(pattern="^(fov|cell)$")
    encoder: EncoderName
    made_images_only: bool = Field(description="the encoder comes with locatlas and was trained on made images alone")
    k: int | None = Field(description="of classes and galleries; null where nothing could be scored")
    votes: str
    group: str
    data: ReportedData
    proteins: ProteinsDocument | None = Field(description="as `proteins`; null where no protein is known")
    qc: list[CountedFlag]
    quarantine: list[CountedReason]
    sweep: SweepDocument | None = Field(description="as `sweep`; null where no image has a localization")
    classes: list[ReportedClass] = Field(description="most rows first")
    ece: float | None = Field(description="expected calibration error of the shares of the vote; null for multi-label")
    galleries: list[Gallery]
    neighbors: list[ShownNeighbors]
    encoders: list[dict[str, Any]] = Field(description="as `status`, with architecture, weights, license and paper")
    tables: dict[str, Any] = Field(description="rows and version of each table: the state that is told")
    schema_version: int
    versions: dict[str, str]
