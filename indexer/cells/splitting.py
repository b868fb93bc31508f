"""Masks to single objects: a flood of the distance transform, put together again over wide necks. Pure."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from locatlas.indexer.cells.grids import Ints, Labels, renumbered

__all__ = ["borders_between", "filled", "inscribed_radii", "softened", "split"]

DISTANCE_STEPS = 64  # steps per pixel of a distance


def split(mask: NDArray[np.bool_], *, neck: float, blur_px: float) -> Labels:
    """One label for each part of a mask that hangs together by more than a neck.

    Every local maximum of the distance to the outside floods its basin. Two basins stay one where the widest place
    between them is at least `neck` of the smaller one's greatest width; widest places are looked at first. So no size
    is needed: what is a neck depends on the parts beside it.

    Args:
        mask: (height, width).
        neck: In [0, 1]; smaller splits less.
        blur_px: SD of the smoothing of the distances, which keeps rough outlines from making maxima.

    Returns:
        Numbered in scan order; 0 outside.
    """
    distance = _distance(mask, blur_px)
    top = (distance == ndimage.maximum_filter(distance, 5)) & mask
    seeds, n = ndimage.label(top, np.ones((3, 3), dtype=np.int8))
    if n == 0:
        return np.zeros(mask.shape, dtype=np.int32)
    basins = watershed(-distance, seeds, mask=mask)
    return renumbered(_merged(basins, distance, n, neck))[0]


def inscribed_radii(labels: Labels, n: int) -> NDArray[np.float64]:
    """The greatest distance to the outside of each label 1..n, pixels."""
    distance = _distance(labels > 0, 0.7)
    best = np.zeros(n + 1, dtype=np.int64)
    np.maximum.at(best, labels.ravel(), distance.ravel())
    return best[1:] / DISTANCE_STEPS


def _distance(mask: NDArray[np.bool_], blur_px: float) -> Ints:
    # beyond the field the object may go on: its edge is no outline
    plain = ndimage.distance_transform_edt(mask) if not mask.all() else np.full(mask.shape, float(min(mask.shape)))
    return np.rint(ndimage.gaussian_filter(plain, blur_px) * DISTANCE_STEPS).astype(np.int64) * mask


def _merged(basins: Labels, distance: Ints, n: int, neck: float) -> Labels:
    peaks = np.zeros(n + 1, dtype=np.int64)
    np.maximum.at(peaks, basins.ravel(), distance.ravel())
    pairs, saddles = _saddles(basins, distance, n)
    parent = list(range(n + 1))

    def root(label: int) -> int:
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    for place in np.argsort(-saddles, kind="stable"):
        low, high = root(int(pairs[place] // (n + 1))), root(int(pairs[place] % (n + 1)))
        if low != high and saddles[place] >= neck * min(peaks[low], peaks[high]):
            if peaks[low] < peaks[high]:
                low, high = high, low
            parent[high] = low
    return np.array([root(label) for label in range(n + 1)], dtype=np.int32)[basins]


def _saddles(basins: Labels, distance: Ints, n: int) -> tuple[Ints, Ints]:
    """Pairs of basins that touch, as low * (n + 1) + high, and the greatest distance on their common border."""
    keys, heights = [], []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        first, second = basins[one], basins[other]
        touch = (first != second) & (first > 0) & (second > 0)
        low = np.minimum(first[touch], second[touch]).astype(np.int64)
        keys.append(low * (n + 1) + np.maximum(first[touch], second[touch]))
        heights.append(np.minimum(distance[one][touch], distance[other][touch]))
    pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
    saddles = np.zeros(len(pairs), dtype=np.int64)
    np.maximum.at(saddles, place, np.concatenate(heights))
    return pairs, saddles


def borders_between(labels: Labels) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbor belongs to another label, both not 0."""
    out = np.zeros(labels.shape, dtype=np.bool_)
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        out[one] |= (labels[one] != labels[other]) & (labels[one] > 0) & (labels[other] > 0)
    return out


def filled(mask: NDArray[np.bool_], largest_px: float) -> NDArray[np.bool_]:
    """A mask without its holes of at most so many pixels; what touches the field's edge is no hole."""
    holes, n = ndimage.label(~mask)
    if n == 0:
        return mask
    fill = np.bincount(holes.ravel(), minlength=n + 1) <= largest_px
    fill[0] = False
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        fill[edge] = False
    return np.asarray(mask | fill[holes])


def softened(mask: NDArray[np.bool_], diameter_px: float) -> NDArray[np.bool_]:
    """A mask by majority over a square of an eighth of a nucleus: specks and spurs go, dents close."""
    edge = max(3, int(diameter_px / 8) | 1)
    # whole numbers: a sum of up to edge * edge ones, halved
    ones = ndimage.uniform_filter(mask.astype(np.int64) * (2 * edge * edge), edge)
    return np.asarray(ones > edge * edge)
