"""Pieces of one nucleus put together again: neighbors whose union is round and no larger than a nucleus. Pure."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.indexer.cells.grids import Labels, renumbered

__all__ = ["ROUND", "closed", "hull_area_px", "joined"]

ROUND = 0.91
"""Least share of its convex hull that a union fills, its dents closed; two discs side by side fill
2 pi / (pi + 4) = 0.88."""

Corner = tuple[int, int]


def closed(mask: NDArray[np.bool_], reach_px: int) -> NDArray[np.bool_]:
    """A mask with its holes filled and with the dents closed that a disc of this radius does not enter.

    Args:
        mask: (height, width); what lies beyond is background.
        reach_px: At least 1.
    """
    room = np.pad(mask, reach_px + 1)
    near = ndimage.distance_transform_edt(~room) <= reach_px
    whole = ndimage.binary_fill_holes(ndimage.distance_transform_edt(near) > reach_px)
    return np.asarray(whole[reach_px + 1 : -reach_px - 1, reach_px + 1 : -reach_px - 1] | mask)


def joined(labels: Labels, *, reach_px: int, largest_px: float) -> Labels:
    """Labels with the pieces of one object put together; pairs of small pieces are looked at first.

    Args:
        labels: (height, width), 0 background.
        reach_px: Pieces are neighbors if they are at most about this apart; dents are closed over about twice this.
        largest_px: Area above which a union is more than one object.

    Returns:
        Numbered in scan order.
    """
    parts, n = renumbered(labels)
    boxes = [(at[0].start, at[1].start, at[0].stop, at[1].stop) for at in ndimage.find_objects(parts)]
    areas = np.bincount(parts.ravel(), minlength=n + 1).tolist()
    owner = list(range(n + 1))
    for first, second in sorted(
        _neighbors(parts, max(1, reach_px // 2)), key=lambda pair: (areas[pair[0]] + areas[pair[1]], pair)
    ):
        one, other = owner[first], owner[second]
        if one == other or areas[one] + areas[other] > largest_px:
            continue
        a, b = boxes[one - 1], boxes[other - 1]
        box = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
        part = parts[box[0] : box[2], box[1] : box[3]]
        union = closed((part == one) | (part == other), reach_px)
        area = int(union.sum())
        if area <= largest_px and area >= ROUND * hull_area_px(union):
            part[(part == other) | (union & (part == 0))] = one
            areas[one] = area
            boxes[one - 1] = box
            owner = [one if label == other else label for label in owner]
    return renumbered(parts)[0]


def _neighbors(parts: Labels, gap_px: int) -> set[tuple[int, int]]:
    """Pairs of labels, the lower first, that meet when every label grows by `gap_px`."""
    away, nearest = ndimage.distance_transform_edt(parts == 0, return_indices=True)
    grown = np.where(away <= gap_px, parts[nearest[0], nearest[1]], 0)
    pairs = set()
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        first, second = grown[one], grown[other]
        touch = (first != second) & (first > 0) & (second > 0)
        low, high = np.minimum(first[touch], second[touch]), np.maximum(first[touch], second[touch])
        pairs |= set(zip(low.tolist(), high.tolist(), strict=True))
    return pairs


def hull_area_px(mask: NDArray[np.bool_]) -> float:
    """Area of the convex hull of a mask's pixels, corners included: a convex polygon of whole coordinates, exactly.

    By Andrew's monotone chain over the outermost corners of every row.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask.argmax(axis=1)[rows]
    right = mask.shape[1] - mask[:, ::-1].argmax(axis=1)[rows]
    corners: set[Corner] = set()
    for row, low, high in zip(rows.tolist(), left.tolist(), right.tolist(), strict=True):
        corners |= {(row, low), (row + 1, low), (row, high), (row + 1, high)}
    ordered = sorted(corners)
    hull = [*_chain(ordered), *_chain(ordered[::-1])]
    twice = sum(y * next_x - next_y * x for (y, x), (next_y, next_x) in zip(hull, [*hull[1:], *hull[:1]], strict=True))
    return abs(twice) / 2


def _chain(points: list[Corner]) -> list[Corner]:
    """Half of the hull, without its last point."""
    hull: list[Corner] = []
    for point in points:
        while len(hull) > 1 and _turn(hull[-2], hull[-1], point) <= 0:
            hull.pop()
        hull.append(point)
    return hull[:-1]


def _turn(a: Corner, b: Corner, c: Corner) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
