"""Fields with nuclei whose pixels are known: bright discs and ellipses, blurred a little, with noise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.types import ChannelImage

Disc = tuple[float, float, float]  # row, column, diameter; pixels


def discs(shape: tuple[int, int], places: Sequence[Disc]) -> NDArray[np.int32]:
    """Labels from 1 in the order of the places; later ones leave earlier ones as they are."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    out = np.zeros(shape, np.int32)
    for number, (row, column, diameter) in enumerate(places, start=1):
        out[(np.hypot(y - row, x - column) <= diameter / 2) & (out == 0)] = number
    return out


def plane(
    labels: NDArray[np.int32],
    *,
    light: Sequence[float] | float = 4000.0,
    background: float = 400.0,
    noise: float = 40.0,
    seed: int = 0,
) -> NDArray[np.uint16]:
    """uint16 counts of nuclei of these brightnesses, blurred by one pixel."""
    n = int(labels.max())
    levels = np.concatenate([[0.0], np.broadcast_to(np.asarray(light, np.float64), n)])
    seen = ndimage.gaussian_filter(levels[labels], 1.0) + background
    seen += np.random.default_rng(seed).normal(0, noise, labels.shape)
    return np.clip(np.rint(seen), 0, 65535).astype(np.uint16)


def field(
    nucleus: NDArray[np.generic], pixel_size_um: float | None = None, **others: NDArray[np.generic]
) -> ChannelImage:
    """A field of a nucleus plane and others by name."""
    planes = {"nucleus": nucleus, **others}
    return ChannelImage(np.stack(list(planes.values())), tuple(planes), pixel_size_um)
