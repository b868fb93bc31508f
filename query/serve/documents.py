"""The JSON documents of the HTTP API, beside those that it has in common with the commands (`asking_documents`)."""

from typing import Any, Literal

from pydantic import Field

from locatlas.query.documents.asking import ClassifyDocument, EncoderName, NeighborsDocument
from locatlas.query.documents.base import Document

__all__ = [
    "ApiStatus",
    "CompareQueriesDocument",
    "ErrorDocument",
    "ImageDocument",
    "ProteinDocument",
    "ProteinPage",
    "QueryDocument",
    "Suggestion",
]


class ErrorDocument(Document):
    """Why a request was not answered."""

    error: str = Field(description="one line")


class LevelState(Document):
    """An image level."""

    level: Literal["fov", "cell"]
    images: int
    labelled: int = Field(description="images with a localization")
    vectors: bool = Field(description="whether it can be asked")


class ApiEncoder(EncoderName):
    """An encoder of the atlas."""

    level: str
    state: str = Field(description="building, current, superseded (current once) or beside (never was)")
    dim: int
    images: int
    embedded: int
    stale: int = Field(description="vectors made of other pixels than those there now; they do not answer")
    coverage: float | None
    imported: bool = Field(description="vectors made elsewhere: no new image can be asked with")
    channels: str
    passes: str
    stains: list[str]
    lineage: list[str]


class ApiDataset(Document):
    """A data set of the atlas."""

    name: str
    fovs: int
    cells: int
    channels: list[list[str]] = Field(description="lists of channels that its images have, the most frequent first")
    images: bool = Field(description="whether it has any; rows of vectors made elsewhere have none")
    images_at_hand: bool = Field(description="whether the folder of its images is there, for pictures at full depth")


class Stored(Document):
    """What was measured or made before and is kept."""

    maps: list[dict[str, Any]] = Field(description="2-D maps: level, encoder, fingerprint, method")
    benchmarks: int = Field(description="cells of benchmark grids")


class ApiStatus(Document):
    """An atlas and the server that answers from it."""

    name: str
    locatlas: str = Field(description="version of locatlas")
    version: str = Field(description="state of the atlas; another after every commit")
    levels: list[LevelState]
    proteins: int
    localizations: dict[str, int] = Field(description="images by localization")
    label_map: str | None = Field(
        description="map that would bring them into one vocabulary, where two words for one place are among them"
    )
    encoders: list[ApiEncoder] = Field(description="current ones first")
    datasets: list[ApiDataset]
    stale: list[str] = Field(description="parts that are behind the images, in words; empty where all is up to date")
    stored: Stored
    being_written: bool
    limits: dict[str, int | float] = Field(description="what one upload may hold, and the largest k")


class Suggestion(Document):
    """A name that fits what was typed."""

    kind: Literal["protein", "alias", "localization", "id"]
    text: str
    protein: str | None = Field(description="of a protein and an alias; else null")


class ProteinEntry(Document):
    """One protein of the atlas."""

    protein: str
    ensembl: list[str] = Field(description="Ensembl ids; several where data sets disagree")
    aliases: list[str]
    n_fovs: int
    n_cells: int
    localizations: list[str]
    datasets: list[str]


class ProteinPage(Document):
    """Some of the proteins, by name."""

    total: int = Field(description="proteins that fit")
    offset: int
    proteins: list[ProteinEntry]


class GradedLocalization(Document):
    """A localization as the source grades it."""

    localization: str
    grade: int = Field(description="OpenCell: 3 very prominent, 2 less so, 1 weak")


class ImageEntry(Document):
    """One image of a protein."""

    id: str
    level: Literal["fov", "cell"]
    dataset: str
    channels: list[str]
    localizations: list[str]
    graded: list[GradedLocalization]
    annotated: list[str] | None = Field(description="what people said of this very cell; null where nobody looked")
    fov_id: str | None
    cell_line: str | None
    antibody: str | None


class ProteinDocument(ProteinEntry):
    """One protein with its images."""

    images: list[ImageEntry] = Field(description="FOVs, then cells, by id; a page of them")
    offset: int
    links: dict[str, str | None] = Field(description="its pages elsewhere: opencell, hpa; null where it has none")


class ImageDocument(ImageEntry):
    """One image."""

    protein: str | None
    ensembl_id: str | None
    plate: str | None
    well: str | None
    pixel_size_um: float | None
    height: int | None
    width: int | None
    box: list[int] | None = Field(description="of a cell: top, left, bottom, right in pixels of its field")
    centroid: list[float] | None = Field(description="y, x in pixels of the field")
    n_cells: int | None = Field(description="of a field: cells found in it; null where nobody searched")
    qc: list[str]
    metadata: dict[str, str]
    groups: dict[str, str]
    digest: str = Field(description="of the pixels; as v= of a picture's address it lets browsers keep the picture")


class ComparedQuery(Document):
    """One protein or image asked by two encoders."""

    query: dict[str, str] = Field(description="protein or id")
    a: NeighborsDocument
    b: NeighborsDocument
    k: int = Field(description="neighbors that were compared: as many as the shorter list has")
    in_both: list[str] = Field(description="neighbors that both have, in the order of a")
    overlap: float | None = Field(ge=0, le=1, description="their share of k; null where nobody is near")


class CompareQueriesDocument(Document):
    """Two encoders on the same selection; of all rows `locatlas compare` tells more."""

    a: EncoderName
    b: EncoderName
    queries: list[ComparedQuery]
    overlap: float | None = Field(description="mean over the queries")


class QueryDocument(Document):
    """The answer to an uploaded image."""

    neighbors: NeighborsDocument | None = Field(description="null where they were not asked for")
    classification: ClassifyDocument | None = Field(
        description="null where it was not asked for, or no image of the atlas has a localization"
    )
    kept: Literal["nothing"] = Field(description="of the upload")
