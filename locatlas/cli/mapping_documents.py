"""The JSON documents of `map`, `export`, `export site` and `napari`."""

from typing import Any

from pydantic import Field

from locatlas.query.documents.asking import EncoderName
from locatlas.query.documents.base import Document

__all__ = ["ExportDocument", "ExportSiteDocument", "MapDocument", "NapariDocument"]


class MapDocument(Document):
    """What `map` did, and the map that is stored now."""

    level: str = Field(pattern="^(fov|cell|protein)$")
    of: str | None = Field(description="at level protein, the images that proteins are made of")
    encoder: EncoderName
    method: str = Field(pattern="^(pca|umap|tsne)$")
    params: dict[str, Any] = Field(description="as asked for, with the seed")
    used: dict[str, Any] = Field(
        description="what they came to on these vectors; `later`: how points that came later are placed"
    )
    versions: dict[str, str] = Field(description="of the packages that drew it")
    points: int = Field(ge=0, description="images or proteins on it that the atlas holds now")
    placed: int = Field(ge=0, description="of these, placed later without drawing the others anew")
    action: str = Field(pattern="^(drawn|placed|unchanged)$", description="what this run did")
    why: str = Field(description="why it was drawn; empty where it was not")
    placed_now: int = Field(ge=0)
    gone_now: int = Field(ge=0, description="points taken out, whose images are gone")
    figure: str | None
    notes: list[str]


class ExportDocument(Document):
    """What `export anndata`, `parquet`, `profiles` and `faiss` wrote."""

    kind: str = Field(pattern="^(anndata|parquet|profiles|faiss)$")
    path: str = Field(description="file, or folder of faiss")
    level: str = Field(pattern="^(fov|cell|protein)$")
    of: str | None = Field(description="at level protein, the images that proteins are made of")
    encoder: EncoderName
    rows: int = Field(ge=0, description="images or proteins")
    dim: int = Field(ge=1, description="numbers a vector")
    bytes: int = Field(ge=0, description="of all files")
    command: str | None = Field(description="what shows the file; null where that is up to the reader")
    notes: list[str]


class ExportSiteDocument(Document):
    """What `export site` wrote."""

    path: str = Field(description="folder")
    encoders: dict[str, EncoderName] = Field(description="by level, those that the answers are of")
    proteins: int = Field(ge=0, description="with a page")
    images: int = Field(ge=0, description="with a page")
    pictures: int = Field(ge=0, description="of images, those without a page among them")
    maps: list[str] = Field(description="levels with a map")
    files: int = Field(ge=1)
    bytes: int = Field(ge=1, description="of all files")
    notes: list[str]


class NapariLayer(Document):
    """One layer; further keys are options of napari's `add_<kind>`."""

    kind: str = Field(pattern="^(image|labels|shapes)$")
    name: str
    shape: list[int] = Field(description="pixels as height, width; of a rectangle, its corners")
    dtype: str


class NapariDocument(Document):
    """What `napari` shows."""

    id: str
    layers: list[NapariLayer] = Field(description="in the order of napari, the lowest first")
    opened: bool = Field(description="a window was opened; false with --dry-run")
