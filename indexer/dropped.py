"""Cells that an encoder's crop plan leaves out. Pure."""

from collections.abc import Mapping
from typing import Any

from locatlas.errors import ImageRejectedError
from locatlas.indexer.store.rows import place_of
from locatlas.indexer.store.sources import is_cut
from locatlas.models.crops import CropPlan, window

__all__ = ["PLACE_COLUMNS", "is_dropped"]

PLACE_COLUMNS = ("box", "centroid", "nucleus_centroid", "touches_border", "height", "width", "pixel_size_um")
"""Columns of `cells` that decide where a cell is cut, but for its mask."""


def is_dropped(row: Mapping[str, Any], crop: CropPlan | None) -> bool:
    """Whether an encoder's crop plan makes no vector of a cell.

    Args:
        row: Of `cells`, with `PLACE_COLUMNS`, or of `fovs`.
        crop: The encoder's plan.
    """
    if crop is None or crop.border != "drop" or not is_cut(row):
        return False
    place = place_of(row, with_mask=False)
    try:
        at = window(place, crop, height=row["height"], width=row["width"], pixel_size_um=row["pixel_size_um"])
    except ImageRejectedError:
        return False  # it cannot be cut at all, which is told of it when it is tried
    return at.dropped
