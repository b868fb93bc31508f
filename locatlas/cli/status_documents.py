"""The JSON document of `status`."""

from typing import Any

from pydantic import Field

from locatlas.cli.report_documents import CountedReason
from locatlas.query.documents.asking import EncoderName
from locatlas.query.documents.base import Document as _Document

__all__ = ["StatusDocument"]


class TableState(_Document):
    """A table of the store."""

    rows: int
    version: int


class EncoderState(EncoderName):
    """An encoder of an atlas and how much of its level it covers."""

    level: str
    state: str = Field(pattern="^(building|current|superseded|beside)$")
    dim: int
    residual: str = Field(pattern="^(fp32|bf16)$", description="what runs between blocks of its network is rounded to")
    storage: str = Field(pattern="^float(32|16)$", description="numbers that its vectors are stored in")
    images: int = Field(description="images at the level")
    embedded: int = Field(description="of these, with a vector")
    lacking: int = Field(
        ge=0, description="of the others, those that it could embed: with an image, and no source in quarantine"
    )
    stale: int = Field(description="vectors made from other pixels than those there now")
    coverage: float | None = Field(
        ge=0, le=1, description="share of the images with a vector of their pixels; null without images"
    )
    parent: str | None = Field(description="fingerprint of the encoder it was trained from")
    lineage: list[str] = Field(description="names from the oldest known ancestor to the encoder itself")
    training: dict[str, Any] | None = Field(description="how it was trained; null where that is not known")
    crop: dict[str, Any] | None = Field(description="how cells are cut out of their fields; null for whole images")


class SegmenterState(_Document):
    """What found cells."""

    id: str = Field(description="`given` for masks and tables, else name and digest of its parameters")
    name: str
    parameters: dict[str, Any]
    fields: int = Field(ge=0, description="fields whose cells it found")
    cells: int = Field(ge=0, description="cells of these")


class CellsState(_Document):
    """Where the cells of an atlas come from."""

    segmenters: list[SegmenterState]
    fields_not_searched: int = Field(ge=0, description="fields in which no cells were looked for")
    images_of_their_own: int = Field(ge=0, description="cells that came as images, not cut out of a field")
    annotated: dict[str, int] = Field(description="cells that somebody annotated, by data set")


class MapState(_Document):
    """A map that is stored."""

    level: str
    of: str | None
    method: str
    encoder: str
    fingerprint: str
    seed: int
    params: dict[str, Any]
    points: int = Field(ge=0)
    current: bool = Field(description="drawn from vectors of the encoder that is current now")
    at: str


class GoneImages(_Document):
    """Images of a data set whose files were gone when it was indexed last."""

    dataset: str
    level: str
    images: int = Field(ge=1)
    run: str = Field(description="id of the run that found them so")


class PackState(_Document):
    """What `locatlas pack` holds."""

    images: int = Field(ge=0)
    bytes: int = Field(ge=0, description="of their planes")


class StatusDocument(_Document):
    """The answer of `status`."""

    path: str
    schema_version: int
    tables: dict[str, TableState]
    datasets: dict[str, dict[str, int]] = Field(description="images by level and data set")
    cells: CellsState
    encoders: list[EncoderState]
    reembedding: dict[str, Any] | None = Field(
        description="who renews the vectors now (command, run, pid, host, since, for_s); null if nobody does"
    )
    quarantine: dict[str, int] = Field(description="sources that could not be used, by data set")
    quarantine_reasons: list[CountedReason] = Field(description="most sources first, up to 20 of each data set")
    quarantined: list[dict[str, Any]] = Field(
        description="dataset, source and reason of the first 1,000 sources of each data set"
    )
    gone: list[GoneImages] = Field(description="images that stay in the atlas and have no file any more")
    pack: PackState
    maps: list[MapState]
    indices: list[dict[str, Any]]
    roots: dict[str, dict[str, Any]]
    runs: list[dict[str, Any]]
    versions: dict[str, str]
