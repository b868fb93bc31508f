"""What requests may ask for: their parameters with bounds, as the façade has them. Pure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from locatlas.errors import InputError
from locatlas.query.serve.context import MOST_TEXT

__all__ = [
    "MOST_K",
    "Asked",
    "ClassifyAsked",
    "CompareAsked",
    "ConfidenceAsked",
    "EmbeddingsAsked",
    "NeighborsAsked",
    "PointsAsked",
    "ResemblanceAsked",
    "SweepAsked",
    "Text",
]

MOST_K = 1000
"""Largest k of a request."""

Text = Annotated[str, Field(max_length=MOST_TEXT)]
MapLabels = Annotated[Text | None, Field(description="bring localizations into one vocabulary: hpa:opencell")]


class Asked(BaseModel):
    """Parameters: unknown ones are refused, so that a slip is not taken for the default."""

    model_config = ConfigDict(extra="forbid")

    def arguments(self) -> dict[str, Any]:
        """As the façade's methods take them; hashable."""
        return {name: tuple(v) if isinstance(v, list) else v for name, v in self.model_dump().items()}


class _OfOne(Asked):
    """Who asks, and what is searched."""

    protein: Text | None = Field(default=None, description="gene symbol or Ensembl id; or")
    id: Text | None = Field(default=None, description="image id: exactly one of the two")
    level: Literal["fov", "cell", "protein"] | None = Field(
        default=None, description="what is searched; default: the first image level that has the query"
    )
    k: int | None = Field(default=None, ge=1, le=MOST_K)
    exclude: Text = Field(default="protein", description="what a query never meets: none, self, fov, protein, a column")
    encoder: Text | None = Field(default=None, description="name or fingerprint; default: the current one")
    where: list[Text] = Field(default=[], max_length=20, description="filters that all must hold: dataset=opencell")
    map_labels: MapLabels = None
    label_source: Literal["inherited", "annotated"] = "inherited"
    profile: Literal["mean", "medoid"] | None = None
    of: Literal["fov", "cell"] | None = None
    exact: bool | None = Field(default=None, description="default: the FAISS index where there is one")

    @model_validator(mode="after")
    def _one(self) -> "_OfOne":
        # nobody named means everybody to the façade
        if (self.protein is None) == (self.id is None):
            message = "one query needed: a protein or an id"
            raise ValueError(message)
        return self


class NeighborsAsked(_OfOne):
    """Parameters of `neighbors`."""


class ClassifyAsked(_OfOne):
    """Parameters of `classify`."""

    weights: Literal["uniform", "distance", "softmax"] = "softmax"
    temperature: float = Field(default=0.07, ge=1e-6, le=100, allow_inf_nan=False)
    threshold: float = Field(default=0.5, gt=0, le=1, allow_inf_nan=False)
    by: Text | None = Field(default=None, description="put the votes of cells together by fov, protein or a column")
    how: Literal["mean", "majority", "top"] | None = None
    top: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)


class SweepAsked(Asked):
    """Parameters of `sweep`."""

    ks: Text | None = Field(default=None, description="1,3,5,10; default: 1 to 200 as far as there are references")
    level: Literal["fov", "cell", "protein"] | None = None
    encoder: Text | None = None
    group: Text = Field(default="protein", description="column whose values never vote on each other")
    protocol: Literal["leave-group-out", "kfold"] = "leave-group-out"
    weights: Literal["uniform", "distance", "softmax"] = "uniform"
    labels: Literal["single", "multi"] = "single"
    exclude: Literal["self", "fov", "protein"] = "protein"
    map_labels: MapLabels = None
    where: list[Text] = Field(default=[], max_length=20)
    label_source: Literal["inherited", "annotated"] = "inherited"
    held_out: bool = Field(default=False, description="score only what the encoder was not trained on")
    allow_training_groups: bool = Field(
        default=False, description="score what it was trained on, too, as if it were new"
    )

    def arguments(self) -> dict[str, Any]:
        """As `Atlas.sweep` takes them.

        Raises:
            InputError: If a k is none.
        """
        said = super().arguments()
        if self.ks is not None:
            parts = [part.strip() for part in self.ks.split(",")]
            if not all(part.isdecimal() and part.isascii() and 1 <= int(part) <= MOST_K for part in parts):
                message = f"ks: whole numbers from 1 to {MOST_K} joined by commas needed, e.g. 1,3,5"
                raise InputError(message)
            said["ks"] = tuple(sorted({int(part) for part in parts}))
        return said


class ResemblanceAsked(Asked):
    """Parameters of `resemblance`, which is `Atlas.proteins`."""

    of: Literal["fov", "cell"] | None = None
    k: int | None = Field(default=None, ge=1, le=MOST_K)
    exclude: Text = "protein"
    sort: Literal["protein", "within", "auc", "heterogeneity"] = "protein"
    worst_first: bool = False
    where: list[Text] = Field(default=[], max_length=20)
    label_source: Literal["inherited", "annotated"] = "inherited"
    encoder: Text | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)


class PointsAsked(Asked):
    """Parameters of `points`."""

    level: Literal["fov", "cell", "protein"]
    encoder: Text | None = None
    method: Text | None = None
    map_labels: MapLabels = None


class ConfidenceAsked(Asked):
    """Parameters of `points/confidence`."""

    level: Literal["fov", "cell", "protein"]
    k: int | None = Field(default=None, ge=1, le=MOST_K)
    encoder: Text | None = None
    map_labels: MapLabels = None


class EmbeddingsAsked(Asked):
    """Parameters of `embeddings`."""

    level: Literal["fov", "cell", "protein"] | None = None
    encoder: Text | None = None


class CompareAsked(Asked):
    """Parameters of `compare`: two encoders, and a protein or up to 50 images."""

    a: Text
    b: Text
    protein: Text | None = None
    ids: list[Text] = Field(default=[], max_length=50, description="image ids; repeat the parameter")
    level: Literal["fov", "cell", "protein"] | None = None
    k: int = Field(default=10, ge=1, le=MOST_K)
    exclude: Text = "protein"
    where: list[Text] = Field(default=[], max_length=20)

    @model_validator(mode="after")
    def _some(self) -> "CompareAsked":
        if (self.protein is None) == (not self.ids):
            message = "one selection needed: a protein or ids"
            raise ValueError(message)
        return self
