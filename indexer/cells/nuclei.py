"""Nuclei of a field of view: smoothing, local threshold, hole filling, distance-transform watershed. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.grids import (
    SMOOTH_STEPS,
    Ints,
    Labels,
    coarsened,
    exceeded_by,
    noise_sd,
    renumbered,
    smoothed,
)
from locatlas.indexer.cells.joining import closed, joined
from locatlas.indexer.cells.splitting import borders_between, filled, inscribed_radii, softened, split
from locatlas.models.qc import check_usable
from locatlas.types import ChannelImage

__all__ = ["CoarseNuclei", "NucleusParameters", "find_nuclei", "nucleus_plane", "usual_diameter_px"]

WORK_DIAMETER_PX = 22
"""A usual nucleus is found at 22 to 44 pixels of diameter; larger fields are reduced to that first."""

FIRST_PASS_PX = 384  # longer edge at which the usual diameter is estimated
SMALLEST_DIAMETER_PX = 9.0  # below, an estimate is noise
NOISE_SDS = 1.5  # of a pixel's noise: light below belongs to no object
STEEPEST_GRADIENT = 0.22  # of an object's level, lost across its outline; an uneven background loses less, nuclei 0.4
LOCAL_WIDTH = 1.5  # of the local mean, in usual diameters
LARGEST_UNION = 1.6  # of pieces that are put together, in areas of a usual nucleus
LOCAL_SHARE = 0.9  # of the local mean, below which light belongs to a gap


@dataclass(frozen=True, slots=True, kw_only=True)
class NucleusParameters:
    """What decides the nuclei. The defaults were set on made images and looked at on real ones (docs/cells.md).

    Attributes:
        diameter_um: Usual diameter of a nucleus, of a circle of its area; used where the pixel size is known. Nuclei of
            half to twice this are found: HEK293T have about 13 um, U2OS 17, A-431 22.
        diameter_px: The same in pixels; goes before `diameter_um`.
        level: The outline is where the light has fallen to this share of the nucleus' own level over the background.
        neck: Parts are two nuclei where the place between them is narrower than this share of the smaller one.
        smallest: Smallest area as a share of a usual nucleus'; objects at the edge of the field may have half of it.
        faintest: Least light over the background, as a share of that of the brightest nuclei.
        contrast: Least difference of an object to the ring around it, in robust SDs (1.4826 times the median absolute
            deviation) of the smoothed light outside of all objects. Noise and textures without nuclei stay below 4, the
            faintest nuclei of the real images that were looked at are above 8.
    """

    diameter_um: float = 15.0
    diameter_px: float | None = None
    level: float = 0.4
    neck: float = 0.75
    smallest: float = 0.15
    faintest: float = 0.12
    contrast: float = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class CoarseNuclei:
    """Nuclei on the grid on which they were found.

    Attributes:
        labels: (rows, columns) int32, numbered 1..n in scan order.
        factor: Edge of a block in pixels of the field.
        diameter_px: Usual diameter, in pixels of the field; None where none was stated and nothing could be measured,
            as in an empty field.
    """

    labels: Labels
    factor: int
    diameter_px: float | None


def nucleus_plane(image: ChannelImage) -> NDArray[np.generic]:
    """The plane of the nuclear stain.

    Raises:
        ImageRejectedError: If there is none, it is flat, or a channel holds NaN.
    """
    if "nucleus" not in image.channels:
        message = f"cells are found by their nuclei, but there is no channel nucleus among {', '.join(image.channels)}"
        raise ImageRejectedError(message)
    check_usable(image, unit_range=False)
    plane = image.pixels[image.channels.index("nucleus")]
    if plane.min() == plane.max():
        message = f"channel nucleus is flat: all pixels are {plane.flat[0]:g}; no cells can be found"
        raise ImageRejectedError(message)
    return np.asarray(plane)


def find_nuclei(plane: NDArray[np.generic], pixel_size_um: float | None, parameters: NucleusParameters) -> CoarseNuclei:
    """Segment the nuclei of a plane.

    The plane is reduced until a usual nucleus has 22 to 44 pixels and smoothed; the background, a morphological
    opening wider than two nuclei, is subtracted; what exceeds a local mean and a faintest level is split by
    distance-transform watershed; each part is cut at a share of its own level, so that bright and dim nuclei side by
    side both keep their size; then dents and holes are closed and the parts are split once more.

    Args:
        plane: (height, width), finite.
        pixel_size_um: Edge of a pixel; None: the usual diameter is that of `parameters`, else `usual_diameter_px`.
        parameters: See there.
    """
    if parameters.diameter_px is not None:
        diameter: float | None = parameters.diameter_px
    elif pixel_size_um is not None:
        diameter = parameters.diameter_um / pixel_size_um
    else:
        diameter = usual_diameter_px(plane)
    if diameter is None:
        return CoarseNuclei(np.zeros(plane.shape, dtype=np.int32), 1, None)
    factor = max(1, int(diameter // WORK_DIAMETER_PX))
    labels = _segmented(coarsened(plane, factor), diameter / factor, parameters)
    return CoarseNuclei(labels, factor, diameter)


def usual_diameter_px(plane: NDArray[np.generic]) -> float | None:
    """The usual diameter of the nuclei of a plane, estimated from itself where no pixel size is known.

    A first pass on the plane reduced to at most 384 pixels an edge: Otsu's threshold on square roots, split at necks,
    then the median over the area of the parts' inscribed diameters, so that debris does not count. That such outlines
    lie a little outside makes up for nuclei being longer than wide: on made images the mean is 0.98 (OpenCell) and 1.02
    (HPA) of the median diameter of a circle of the nuclei's area.

    Returns:
        Pixels of the plane, at most its shorter edge; None where nothing stands out or it is smaller than 9 pixels of
        the reduced plane.
    """
    factor = max(1, -(-max(plane.shape) // FIRST_PASS_PX))
    reduced = coarsened(plane, factor)
    smooth = smoothed(reduced, 1.5)
    smooth = smooth - smooth.min()
    mask = smooth > _otsu_of_roots(smooth)
    # nucleoli first look like holes; holes are told from gaps by the size of the parts, and closed for a second look
    diameter = _inscribed_diameter(softened(mask, 24))
    if diameter:
        diameter = _inscribed_diameter(softened(filled(mask, 0.2 * _disc(diameter)), 24))
    diameter = min(diameter * factor, float(min(plane.shape)))
    return diameter if diameter >= SMALLEST_DIAMETER_PX * factor else None


def _inscribed_diameter(mask: NDArray[np.bool_]) -> float:
    labels = split(mask, neck=0.75, blur_px=1.0)
    n = int(labels.max())
    if n == 0:
        return 0.0
    radii = inscribed_radii(labels, n)
    order = np.argsort(radii, kind="stable")
    areas = np.cumsum(np.bincount(labels.ravel(), minlength=n + 1)[1:][order])
    return 2 * float(radii[order][np.searchsorted(areas, areas[-1] / 2)])


def _otsu_of_roots(plane: Ints) -> int:
    """Otsu's threshold between 256 steps of the square root, as a value of the plane."""
    top = int(plane.max())
    if top == 0:
        return 0
    steps = np.sqrt(plane / top) * 255
    counts = np.bincount(np.rint(steps).astype(np.int64).ravel(), minlength=256).astype(np.float64)
    below = np.cumsum(counts)
    sums = np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    step = int(np.argmax(np.nan_to_num(between)))
    return int(((step + 0.5) / 255) ** 2 * top)


def _disc(diameter_px: float) -> float:
    return float(np.pi / 4 * diameter_px**2)


def _segmented(plane: Ints, diameter_px: float, parameters: NucleusParameters) -> Labels:
    least = NOISE_SDS * noise_sd(plane) * SMOOTH_STEPS
    light = _above_background(smoothed(plane, max(diameter_px / 25, 0.7)), diameter_px)
    bright = exceeded_by(light, _disc(diameter_px) / 2)
    around = ndimage.uniform_filter(light, int(LOCAL_WIDTH * diameter_px) | 1)
    mask = (light > max(parameters.faintest * bright, least)) & (light > LOCAL_SHARE * around)
    blur_px = diameter_px / 20
    hole = 0.3 * _disc(diameter_px)
    parts = split(softened(filled(mask, hole), diameter_px), neck=parameters.neck, blur_px=blur_px)
    own = light > parameters.level * _levels(light, parts)[parts]
    mask = softened(filled((parts > 0) & own, hole), diameter_px) & ~borders_between(parts)
    parts = split(mask, neck=parameters.neck, blur_px=blur_px)
    parts = joined(parts, reach_px=max(1, round(diameter_px / 6)), largest_px=LARGEST_UNION * _disc(diameter_px))
    return _closed(_kept(parts, light, diameter_px, parameters), diameter_px)


def _above_background(smooth: Ints, diameter_px: float) -> Ints:
    """Light over the background: what a nucleus has around it within twice its diameter, never negative."""
    edge = int(2.5 * diameter_px) | 1
    opened = ndimage.maximum_filter(ndimage.minimum_filter(smooth, edge), edge)
    return np.asarray(smooth - np.minimum(ndimage.uniform_filter(opened, edge), smooth))


def _levels(light: Ints, labels: Labels) -> NDArray[np.float64]:
    """(n + 1,) level of each label: the mean of its pixels above their mean; background 0."""
    n = int(labels.max())
    means = _means(light, labels, n)
    upper = light > means[labels]
    levels = _means(light[upper], labels[upper], n)
    # a label of equal pixels has none above their mean
    levels = np.where(levels > 0, levels, means)
    levels[0] = 0
    return levels


def _means(light: Ints, labels: Labels, n: int) -> NDArray[np.float64]:
    counts = np.bincount(labels.ravel(), minlength=n + 1)
    # sums of whole numbers below 2**53: exact in any order
    sums = np.bincount(labels.ravel(), weights=light.ravel(), minlength=n + 1)
    return np.asarray(sums / np.maximum(counts, 1))


def _kept(labels: Labels, light: Ints, diameter_px: float, parameters: NucleusParameters) -> Labels:
    """The labels that are large enough, stand out from what is around them, and end within a rim."""
    n = int(labels.max())
    if n == 0:
        return labels
    at_edge = np.zeros(n + 1, dtype=np.bool_)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_edge[edge] = True
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    keep = areas >= np.where(at_edge, 0.5, 1.0) * parameters.smallest * _disc(diameter_px)
    wide, rim = max(2, int(diameter_px / 8)), max(1, round(diameter_px / 12))
    away, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    owner = labels[nearest[0], nearest[1]]
    ring = np.where((labels == 0) & (away <= wide), owner, 0)
    # an object that fills the field has nothing around it to stand out from
    alone = np.bincount(ring.ravel(), minlength=n + 1) == 0
    difference = _means(light, labels, n) - _means(light, ring, n)
    keep &= alone | (difference > parameters.contrast * _robust_sd(light[away > wide]))
    inside = np.where(ndimage.minimum_filter(labels, 2 * rim + 1) != labels, labels, 0)
    outside = np.where(away <= rim, ring, 0)
    lost = _means(light, inside, n) - _means(light, outside, n)
    keep &= alone | (lost >= STEEPEST_GRADIENT * _levels(light, labels))
    keep[0] = False
    return renumbered(np.where(keep[labels], labels, 0))[0]


def _robust_sd(light: Ints) -> float:
    if light.size == 0:
        return 0.0
    middle = exceeded_by(light, light.size / 2)
    return 1.4826 * exceeded_by(np.abs(light - middle), light.size / 2)


def _closed(labels: Labels, diameter_px: float) -> Labels:
    """Each label with its dents closed up to a sixth of a nucleus and its holes filled; others' pixels stay theirs."""
    reach_px = max(1, round(diameter_px / 6))
    out = labels.copy()
    for label, at in enumerate(ndimage.find_objects(labels), start=1):
        part = out[at]
        part[closed(labels[at] == label, reach_px) & (part == 0)] = label
    return out
