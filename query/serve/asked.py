"""What requests may ask for: their parameters with bounds, as the façade has them. Pure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from locatlas.query.serve.context import MOST_TEXT

__all__ = ["MOST_K", "ClassifyAsked", "NeighborsAsked"]

MOST_K = 1000
"""Largest k of a request."""

Text = Annotated[str, Field(max_length=MOST_TEXT)]


class _Asked(BaseModel):
    """Parameters: unknown ones are refused, so that a slip is not taken for the default."""

    model_config = ConfigDict(extra="forbid")

    protein: Text | None = Field(default=None, description="gene symbol; or")
    id: Text | None = Field(default=None, description="image id: exactly one of the two")
    level: Literal["fov", "cell", "protein"] | None = Field(
        default=None, description="what is searched; default: the first image level that has the query"
    )
    k: int | None = Field(default=None, ge=1, le=MOST_K)
    exclude: Text = Field(default="protein", description="what a query never meets: none, self, fov, protein, a column")
    encoder: Text | None = Field(default=None, description="name or fingerprint; default: the current one")
    where: list[Text] = Field(default=[], max_length=20, description="filters that all must hold: dataset=opencell")
    label_source: Literal["inherited", "annotated"] = "inherited"
    profile: Literal["mean", "medoid"] | None = None
    of: Literal["fov", "cell"] | None = None
    exact: bool | None = Field(default=None, description="default: the FAISS index where there is one")

    @model_validator(mode="after")
    def _one(self) -> "_Asked":
        # nobody named means everybody to the façade
        if (self.protein is None) == (self.id is None):
            message = "one query needed: a protein or an id"
            raise ValueError(message)
        return self

    def arguments(self) -> dict[str, Any]:
        """As the façade's methods take them."""
        return {name: tuple(v) if isinstance(v, list) else v for name, v in self.model_dump().items()}


class NeighborsAsked(_Asked):
    """Parameters of `neighbors`."""


class ClassifyAsked(_Asked):
    """Parameters of `classify`."""

    weights: Literal["uniform", "distance", "softmax"] = "softmax"
    temperature: float = Field(default=0.07, gt=0, le=100, allow_inf_nan=False)
    threshold: float = Field(default=0.5, gt=0, le=1, allow_inf_nan=False)
    by: Text | None = Field(default=None, description="put the votes of cells together by fov, protein or a column")
    how: Literal["mean", "majority", "top"] | None = None
    top: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    map_labels: Text | None = Field(default=None, description="bring localizations into one vocabulary: hpa:opencell")
