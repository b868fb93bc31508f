"""Small value types that models, indexer and query share; numpy only."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVELS", "ROW", "STAINS", "ChannelImage", "Level", "Neighbors"]

Level = Literal["fov", "cell", "protein"]
"""FOV and cell are the image levels that are stored; protein is aggregated from one of them."""

LEVELS: tuple[Level, ...] = ("fov", "cell", "protein")

ROW: dict[str, str] = {"fov": "field", "cell": "cell", "protein": "protein"}
"""What a row of a level is called in prose, one of them."""

STAINS: tuple[str, ...] = ("microtubules", "protein", "nucleus", "er")
"""Channel names by meaning, in HPA's red, green, blue, yellow order. Other names are allowed."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelImage:
    """Pixels with channels named by meaning.

    Attributes:
        pixels: (channels, height, width); uint8, uint16 or float32. Integers use the range of their type;
            floats are expected in [0, 1].
        channels: One meaning per plane, e.g. ("nucleus", "protein").
        pixel_size_um: Edge of a pixel in micrometres, None where unknown.
    """

    pixels: NDArray[Any]
    channels: tuple[str, ...]
    pixel_size_um: float | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[0] != len(self.channels):
            message = (
                f"pixels of shape {self.pixels.shape} for channels {self.channels}: (channels, height, width) needed"
            )
            raise ValueError(message)
        if len(set(self.channels)) != len(self.channels):
            message = f"channel named twice: {self.channels}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """The k nearest references of each query, nearest first.

    Attributes:
        indices: Rows of the reference array, int64, (n_queries, k); -1 where there is no neighbor.
        similarities: Cosine similarities in [-1, 1], float32, (n_queries, k); NaN where there is no neighbor.
    """

    indices: NDArray[np.int64]
    similarities: NDArray[np.float32]

    @property
    def k(self) -> int:
        """Neighbors per query, missing places included."""
        return int(self.indices.shape[1])
