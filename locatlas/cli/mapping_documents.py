"""The JSON document of `map`."""

from typing import Any

from pydantic import Field

from locatlas.query.asking_documents import EncoderName
from locatlas.query.document_base import Document

__all__ = ["MapDocument"]


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
