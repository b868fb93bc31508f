"""Planes as whole numbers on a coarser grid, and label images between grids. Pure.

Segmentation works on whole numbers from the first smoothing on: block sums are exact, smoothed values are rounded, and
so thresholds, distances and floods take the same decisions on every machine.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

__all__ = ["coarsened", "enlarged", "exceeded_by", "noise_sd", "renumbered", "smoothed"]

Ints = NDArray[np.int64]
Labels = NDArray[np.int32]

FLOAT_STEPS = 65535  # steps into which a float plane is cut
SMOOTH_STEPS = 8  # steps per unit of a smoothed plane


def coarsened(plane: NDArray[np.generic], factor: int) -> Ints:
    """Sums over blocks of factor x factor pixels; a block cut by the lower or right edge repeats the last line.

    Args:
        plane: (height, width), whole numbers, or finite floats, which are first cut into 65536 steps between their
            smallest and largest value.
        factor: At least 1.
    """
    counts = plane.astype(np.int64) if np.issubdtype(plane.dtype, np.integer) else _steps(plane.astype(np.float64))
    if factor == 1:
        return counts
    height, width = counts.shape
    padded = np.pad(counts, ((0, -height % factor), (0, -width % factor)), mode="edge")
    rows, columns = padded.shape[0] // factor, padded.shape[1] // factor
    return np.asarray(padded.reshape(rows, factor, columns, factor).sum(axis=(1, 3), dtype=np.int64))


def _steps(plane: NDArray[np.float64]) -> Ints:
    low, high = plane.min(), plane.max()
    if high <= low:
        return np.zeros(plane.shape, dtype=np.int64)
    return np.rint((plane - low) / (high - low) * FLOAT_STEPS).astype(np.int64)


def smoothed(plane: Ints, sigma_px: float) -> Ints:
    """Gaussian blur, in eighths of the plane's unit, rounded (weights may differ in the last bit between machines)."""
    blurred = ndimage.gaussian_filter(plane.astype(np.float64), sigma_px, truncate=3.0)
    return np.rint(blurred * SMOOTH_STEPS).astype(np.int64)


def exceeded_by(plane: Ints, n_pixels: float) -> int:
    """The value that about `n_pixels` pixels exceed: the top of a plane, robust against a few bright ones."""
    place = plane.size - 1 - min(max(int(n_pixels), 0), plane.size - 1)
    return int(np.partition(plane, place, axis=None)[place])


def noise_sd(plane: Ints) -> float:
    """SD of what differs from pixel to pixel: mean second difference over both axes, as of white noise.

    Objects and backgrounds that change over several pixels cancel. Texture adds to it, so it is rather too large.
    """
    if min(plane.shape) < 2:
        return 0.0
    across = plane[:-1, :-1] + plane[1:, 1:] - plane[1:, :-1] - plane[:-1, 1:]
    # four independent values of SD s sum to SD 2 s; the mean of |x| of a normal x is sqrt(2 / pi) SD
    return float(np.abs(across).sum(dtype=np.int64)) / across.size * float(np.sqrt(np.pi / 2)) / 2


def renumbered(labels: NDArray[np.integer]) -> tuple[Labels, int]:
    """Labels 1..n in scan order of their first pixels, 0 stays, and n."""
    flat = labels.ravel()
    first = np.full(int(flat.max(initial=0)) + 1, flat.size, dtype=np.int64)
    # of repeated places the last written stays, so backward it is the first pixel
    first[flat[::-1]] = np.arange(flat.size - 1, -1, -1)
    present = np.flatnonzero(first[1:] < flat.size) + 1
    new = np.zeros(len(first), dtype=np.int32)
    new[present[np.argsort(first[present])]] = np.arange(1, len(present) + 1)
    return new[labels], len(present)


def enlarged(labels: Labels, factor: int, shape: tuple[int, int]) -> Labels:
    """Labels of blocks as labels of pixels; outlines are smoothed over about a block, borders between labels are not.

    Args:
        labels: (rows, columns), of `coarsened`'s grid.
        factor: As given to `coarsened`.
        shape: (height, width) of the full grid.
    """
    if factor == 1:
        return labels
    rows, columns = labels.shape
    # bilinear in fixed point: half of the way between a block inside and a block outside
    inside = Image.fromarray((labels > 0).astype(np.uint8) * np.uint8(200))
    soft = inside.resize((columns * factor, rows * factor), Image.Resampling.BILINEAR)
    reached = np.where(labels > 0, labels, ndimage.maximum_filter(labels, 3))
    fine = np.repeat(np.repeat(reached, factor, axis=0), factor, axis=1)
    return np.where(np.asarray(soft) > 100, fine, 0)[: shape[0], : shape[1]].astype(np.int32)
