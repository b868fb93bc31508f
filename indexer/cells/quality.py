"""What is wrong with a cell, as flags, and how sharp it is. Pure."""

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.cells.regions import Region
from locatlas.models.qc import channel_flags
from locatlas.types import ChannelImage

__all__ = ["FOCUS_CHANNELS", "cell_quality", "focus"]

FOCUS_CHANNELS = ("nucleus", "protein")
"""Whose sharpness is measured: the first of these that the image has. A nucleus looks alike in every cell; how sharp a
protein's pattern is tells more of the protein than of the microscope."""

LEAST_PIXELS = 16
"""Fewer tell nothing: of a cell of which only the centre is known there is one. For sharpness, of the halved image."""

LARGEST = 64.0
"""Square of the Laplacian's largest eigenvalue: only what lies just outside of the pixels that count can go beyond."""


def cell_quality(image: ChannelImage, region: Region) -> tuple[tuple[str, ...], float | None]:
    """Flags of a cell, sorted, and its sharpness.

    Flags:
        border: The cell touches the edge of its field, so a part of it may be missing.
        flat:<channel>, saturated:<channel>, nan, out_of_range: As of images (`qc_flags`), but of the pixels of the
            cell alone; of its box where it has no mask. None of them where that is fewer than `LEAST_PIXELS` pixels.

    There is none for cells that are too small or too large: what is too small depends on the cell line, and a field has
    too few cells to tell. `area_px` is a column to filter by.

    Args:
        image: The field.
        region: The cell.

    Returns:
        The flags, and `focus` of the cell in the first of `FOCUS_CHANNELS` that the image has; None where that is not
        defined.
    """
    place = region.place
    top, left, bottom, right = place.box
    pixels = image.pixels[:, top:bottom, left:right]
    flags = {"border"} if place.touches_border else set()
    for name, plane in zip(image.channels, pixels, strict=True):
        values = plane if place.mask is None else plane[place.mask]
        if values.size >= LEAST_PIXELS:
            flags |= channel_flags(name, values)
    channel = next((name for name in FOCUS_CHANNELS if name in image.channels), None)
    sharpness = None if channel is None else focus(pixels[image.channels.index(channel)], place.mask)
    return tuple(sorted(flags)), sharpness


def focus(plane: NDArray[np.generic], mask: NDArray[np.bool_] | None = None) -> float | None:
    r"""Sharpness: variance of the Laplacian over the variance of the image itself.

    .. math:: F = \mathrm{var}(\Delta I) / \mathrm{var}(I), \quad \Delta I = 4 I_{y,x} - I_{y-1,x} - I_{y+1,x} -
        I_{y,x-1} - I_{y,x+1}

    over the pixels of the mask. The variance of the Laplacian is LAP4 of Pertuz, Puig and Garcia 2013 (Pattern
    Recognition 46:1415), one of the best of the 36 measures compared there; the denominator makes it free of unit:
    neither gain nor offset of the camera change it. The image is halved first by the mean of 2 x 2 pixels, because a
    Laplacian sees noise best: F is 20 for white noise, and that of a sharp image is far below.

    It falls as an image is blurred, and is comparable between cells of one pixel size and channel only. It rises with
    noise, so that a dim cell can have a large one.

    Args:
        plane: (height, width), any number type.
        mask: Of the same shape: which pixels count; None for all of them.

    Returns:
        F in [0, 64]; None where fewer than `LEAST_PIXELS` pixels of the halved image count, all of them are equal, or
        some pixel is not finite.
    """
    halved = _halved(plane)
    if min(halved.shape) < 3 or not np.isfinite(halved).all():
        return None
    middle = halved[1:-1, 1:-1]
    laplacian = 4 * middle - halved[:-2, 1:-1] - halved[2:, 1:-1] - halved[1:-1, :-2] - halved[1:-1, 2:]
    if mask is not None:
        inside = mask[2 : 2 * len(halved) - 2 : 2, 2 : 2 * halved.shape[1] - 2 : 2]
        middle, laplacian = middle[inside], laplacian[inside]
    if middle.size < LEAST_PIXELS or middle.min() == middle.max():
        return None
    spread = float(middle.var())
    return min(float(laplacian.var()) / spread, LARGEST) if spread else None


def _halved(plane: NDArray[np.generic]) -> NDArray[np.float64]:
    """Mean of each 2 x 2 pixels; an odd last row or column is left out."""
    even = plane[: len(plane) // 2 * 2, : plane.shape[1] // 2 * 2].astype(np.float64)
    mean: NDArray[np.float64] = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    return mean
