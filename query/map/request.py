"""What map is wanted, and which parameters its method takes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.map.stored import METHODS

__all__ = ["MapRequest"]

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "pca": {},
    "umap": {"n_neighbors": 15, "min_dist": 0.1},
    "tsne": {"perplexity": 30.0},
}
"""Parameters by method: those of the libraries."""

RANGES: Mapping[str, tuple[float, float]] = {"n_neighbors": (2, 1000), "min_dist": (0, 1), "perplexity": (2, 1000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRequest:
    """What map is wanted.

    Attributes:
        level: "fov", "cell" or "protein"; None for the first image level the atlas has.
        of: At level protein, which images proteins are made of.
        encoder: Name or fingerprint; None for the current one.
        method: "pca", "umap" or "tsne".
        seed: Of all that is drawn at random; pca draws nothing.
        params: Of the method, by name; None and absent ones are its defaults.
        refit: Draw all points anew, though some could be placed.
        map_labels: Map that brings localizations, which a figure shows, into one vocabulary; the points are the same.
    """

    level: str | None = None
    of: str | None = None
    encoder: str | None = None
    method: str = "pca"
    seed: int = 0
    params: Mapping[str, Any]
    refit: bool = False
    map_labels: str | None = None

    def asked(self) -> dict[str, Any]:
        """The method's parameters, all of them.

        Raises:
            UnknownNameError: If there is no such method.
            InputError: If it does not take a parameter, or one makes no sense.
        """
        if self.method not in METHODS:
            raise UnknownNameError("method", self.method, METHODS)
        if not 0 <= self.seed < 1 << 32:
            message = f"seed {self.seed}: a whole number from 0 to 2^32 - 1 needed"
            raise InputError(message)
        given = {name: value for name, value in self.params.items() if value is not None}
        if other := sorted(given.keys() - DEFAULTS[self.method].keys()):
            takes = ", ".join(DEFAULTS[self.method]) or "none"
            message = f"{other[0]} is no parameter of {self.method} (it takes {takes})"
            raise InputError(message)
        for name, value in given.items():
            low, high = RANGES[name]
            if isinstance(value, bool) or not low <= value <= high:
                message = f"{name} {value}: a number from {low} to {high} needed"
                raise InputError(message)
        return {**DEFAULTS[self.method], **given}
