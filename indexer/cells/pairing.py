"""Cells and nuclei that were found apart from each other, put together one to one. Pure."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.indexer.cells.grids import Labels

__all__ = ["paired"]


def paired(cells: NDArray[np.integer], nuclei: NDArray[np.integer]) -> Labels:
    """Cells with the numbers of their nuclei.

    A nucleus belongs to the cell that holds most of it; of equal ones, the lowest number. A cell with several nuclei is
    dealt out: each of its pixels goes to the nearest of them. A cell without a nucleus is left out; a nucleus of which
    no pixel lies in a cell is a cell of its own pixels.

    Args:
        cells: (height, width), 0 background.
        nuclei: The same shape; their numbers stay.

    Returns:
        (height, width), 0 background; every nucleus lies in the cell of its number.
    """
    out = np.zeros(nuclei.shape, dtype=np.int32)
    inside = (cells > 0) & (nuclei > 0)
    pairs, shared = np.unique(np.stack([nuclei[inside], cells[inside]]), axis=1, return_counts=True)
    # most pixels first, then the lower cell: the first pair of a nucleus is its own
    order = np.lexsort((pairs[1], -shared, pairs[0]))
    owned, first = np.unique(pairs[0][order], return_index=True)
    nuclei_of: dict[int, list[int]] = {}
    for nucleus, cell in zip(owned.tolist(), pairs[1][order][first].tolist(), strict=True):
        nuclei_of.setdefault(cell, []).append(nucleus)
    boxes = ndimage.find_objects(np.asarray(cells, dtype=np.int64))
    around = ndimage.find_objects(np.asarray(nuclei, dtype=np.int64))
    for cell, its in sorted(nuclei_of.items()):
        box = _hull([boxes[cell - 1], *(around[nucleus - 1] for nucleus in its)])
        own = np.where(np.isin(nuclei[box], its), nuclei[box], 0)
        _, nearest = ndimage.distance_transform_edt(own == 0, return_indices=True)
        out[box] = np.where(cells[box] == cell, own[nearest[0], nearest[1]], out[box])
    return np.where(nuclei > 0, nuclei, out).astype(np.int32)


def _hull(boxes: list[tuple[slice, slice]]) -> tuple[slice, slice]:
    rows, columns = zip(*boxes, strict=True)
    return (
        slice(min(at.start for at in rows), max(at.stop for at in rows)),
        slice(min(at.start for at in columns), max(at.stop for at in columns)),
    )
