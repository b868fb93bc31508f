"""The built-in segmenter: nuclei, then the cells around them. Pure; needs scikit-image and nothing else."""

from dataclasses import dataclass

import numpy as np

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.bodies import OUTLINING, STAINED_REACH, VORONOI_REACH, flooded, nearest
from locatlas.indexer.cells.grids import Labels, enlarged, renumbered
from locatlas.indexer.cells.nuclei import NucleusParameters, find_nuclei, nucleus_plane
from locatlas.types import ChannelImage

__all__ = ["Segmentation", "numbered", "segment_builtin"]


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Cells and nuclei of a field of view.

    Attributes:
        cells: (height, width) int32, 0 background; a cell has the number of its nucleus and holds all of it.
        nuclei: (height, width) int32, 0 background, numbered 1..n in scan order of their first pixels.
    """

    cells: Labels
    nuclei: Labels

    @property
    def n_cells(self) -> int:
        """How many were found."""
        return int(self.nuclei.max(initial=0))


def segment_builtin(
    image: ChannelImage,
    nucleus: NucleusParameters,
    *,
    cell_reach_um: float | None = None,
    cell_reach_px: float | None = None,
) -> Segmentation:
    """Segment a field of view.

    Fields whose nuclei are larger than 44 pixels are segmented on a reduced grid (a usual nucleus keeps 22 to 44
    pixels) and the labels enlarged, so outlines are good to about a tenth of a nucleus' radius, not to a pixel.

    Args:
        image: With a channel `nucleus`; `microtubules` and `er` outline the cells where present.
        nucleus: How nuclei are found.
        cell_reach_um: How far a cell goes beyond its nucleus; needs the pixel size.
        cell_reach_px: The same in pixels of the field; goes before it. Where neither is said: 2 usual nuclear
            diameters with stains that outline cells, else half of one.

    Raises:
        ImageRejectedError: If the nucleus channel is missing or flat, a channel holds NaN, or `cell_reach_um` is all
            that is said and the pixel size is not known.
    """
    plane = nucleus_plane(image)
    shape = (int(plane.shape[0]), int(plane.shape[1]))
    found = find_nuclei(plane, image.pixel_size_um, nucleus)
    if found.diameter_px is None or not found.labels.any():
        return Segmentation(np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32))
    stains = [image.pixels[place] for place, name in enumerate(image.channels) if name in OUTLINING]
    stains = [stain for stain in stains if stain.min() < stain.max()]
    reach_px = (STAINED_REACH if stains else VORONOI_REACH) * found.diameter_px
    if cell_reach_px is not None:
        reach_px = cell_reach_px
    elif cell_reach_um is not None:
        reach_px = cell_reach_um / _pixel_size_um(image)
    reach = reach_px / found.factor
    if stains:
        diameter = found.diameter_px / found.factor
        cells = flooded(found.labels, stains, factor=found.factor, diameter_px=diameter, reach_px=reach)
    else:
        cells = nearest(found.labels, reach_px=reach)
    return numbered(enlarged(cells, found.factor, shape), enlarged(found.labels, found.factor, shape))


def _pixel_size_um(image: ChannelImage) -> float:
    if image.pixel_size_um is None:
        message = (
            "cell_reach_um needs the pixel size, which is not known; state it with --pixel-size UM, or cell_reach_px"
        )
        raise ImageRejectedError(message)
    return image.pixel_size_um


def numbered(cells: Labels, nuclei: Labels) -> Segmentation:
    """Nuclei numbered in scan order, their cells alike, and every nucleus within its cell.

    Args:
        cells: (height, width), the numbers of `nuclei`; cells without a nucleus are left out.
        nuclei: (height, width).
    """
    new_nuclei, _n = renumbered(nuclei)
    new = np.zeros(max(int(nuclei.max(initial=0)), int(cells.max(initial=0))) + 1, dtype=np.int32)
    new[nuclei.ravel()] = new_nuclei.ravel()
    return Segmentation(np.where(nuclei > 0, new_nuclei, new[cells]).astype(np.int32), new_nuclei)
