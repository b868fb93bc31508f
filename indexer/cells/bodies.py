"""Cells around their nuclei: a flood over the stains that outline them, or a Voronoi limited in distance. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from locatlas.indexer.cells.grids import Labels, coarsened, exceeded_by, smoothed

__all__ = ["OUTLINING", "STAINED_REACH", "VORONOI_REACH", "flooded", "nearest"]

OUTLINING: tuple[str, ...] = ("microtubules", "er")
"""Stains that fill the whole cell, whatever the protein: they show where it ends."""

STAINED_REACH = 2.0
"""How far a cell goes beyond its nucleus at most, in usual nuclear diameters, where stains outline it."""

VORONOI_REACH = 0.5
"""The same where only nuclei are known."""

STEPS = 1000  # between the darkest and the brightest of a stain
FAINTEST = 50  # of these: what is darker is no cell
SLOPE = 100  # per nuclear diameter away from the nucleus: a gap floods from its nearer side


def flooded(
    nuclei: Labels, planes: Sequence[NDArray[np.generic]], *, factor: int, diameter_px: float, reach_px: float
) -> Labels:
    """Cells by seeded watershed: nuclei flood the mean of the stains from its brightest to its darkest places.

    Cells thin out toward their rim, so two neighbors meet in the dark valley between them. The flood ends where the
    stain is as dark as the background, which in a field without any background is its darkest place, and at `reach_px`.

    Args:
        nuclei: (rows, columns), on the grid of `factor`.
        planes: (height, width) of the field, one a stain, at least one.
        factor: Edge of a block in pixels of the field.
        diameter_px: Usual nuclear diameter, in blocks.
        reach_px: Farthest that a cell goes beyond its nucleus, in blocks.

    Returns:
        The nuclei's numbers; each nucleus lies in the cell of its number.
    """
    if not nuclei.any():
        return nuclei.copy()
    stain = np.zeros(nuclei.shape, dtype=np.int64)
    for plane in planes:
        smooth = smoothed(coarsened(plane, factor), max(diameter_px / 12, 0.7))
        low = exceeded_by(smooth, 0.99 * smooth.size)
        high = max(exceeded_by(smooth, 0.01 * smooth.size), low + 1)
        stain += np.clip((smooth - low) * STEPS // (high - low), 0, STEPS)
    stain //= len(planes)
    away = ndimage.distance_transform_edt(nuclei == 0)
    mask = ((stain > FAINTEST) & (away <= reach_px)) | (nuclei > 0)
    landscape = np.rint(SLOPE * away / diameter_px).astype(np.int64) - stain
    return np.asarray(watershed(landscape, nuclei, mask=mask), dtype=np.int32)


def nearest(nuclei: Labels, *, reach_px: float) -> Labels:
    """Cells by distance: every pixel up to `reach_px` from a nucleus is its nearest nucleus'.

    An approximation: it knows no cell's outline. Ties go by scipy's distance transform, always alike.
    """
    if not nuclei.any():
        return nuclei.copy()
    away, places = ndimage.distance_transform_edt(nuclei == 0, return_indices=True)
    return np.where(away <= reach_px, nuclei[places[0], places[1]], 0).astype(np.int32)
