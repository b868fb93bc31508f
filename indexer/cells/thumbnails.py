"""Small colour pictures of the cells of a field, cheap enough to be made for all of them. Pure."""

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from locatlas.indexer.files.thumbnails import HIGH_PERCENTILE, LOW_PERCENTILE, STAIN_COLOURS, WEBP_QUALITY
from locatlas.models.crops import Place
from locatlas.types import ChannelImage

__all__ = ["cell_thumbnails"]

EDGE_PX = 64

MARGIN = 0.15
"""Of the cell's longest edge, on each side: what lies around a cell tells whether it was cut well."""

SAMPLE_PX = 65_536
"""About as many pixels tell the percentiles of a field."""


def cell_thumbnails(image: ChannelImage, places: Sequence[Place], *, edge_px: int = EDGE_PX) -> list[bytes]:
    """WebP pictures of cells with what is around them, in the colours of `locatlas.indexer.files.thumbnails.thumbnail`.

    Each channel is stretched between the 0.5th and 99.8th percentile of the whole field (of a regular sample of its
    pixels), so that a dim cell looks dim beside its neighbors. Each picture is a square around the cell's box; outside
    of the field it is black. A cell without a mask is shown with at least `edge_px` pixels of the field, since of some
    only the centre is known. The same field gives the same bytes (with the same Pillow).

    Args:
        image: The field, any size and dtype of `ChannelImage`.
        places: Its cells.
        edge_px: Edge of a picture, >= 1; a smaller square is not enlarged.

    Returns:
        An RGB WebP file for each cell, in their order.

    Raises:
        ValueError: If `edge_px` is below 1.
    """
    if edge_px < 1:
        message = f"edge_px must be at least 1, got {edge_px}"
        raise ValueError(message)
    if not places or image.pixels.size == 0:
        return [_webp(Image.new("RGB", (1, 1))) for _ in places]
    field = Image.fromarray(_composite(image))
    return [_webp(_square(field, place, edge_px)) for place in places]


def _composite(image: ChannelImage) -> NDArray[np.uint8]:
    """The field in colours, (height, width, 3)."""
    known = [i for i, name in enumerate(image.channels) if name in STAIN_COLOURS]
    rgb = np.zeros((3, *image.pixels.shape[1:]), np.float32)
    for i in known or [0]:
        stretched = _stretched(image.pixels[i])
        for out, share in zip(rgb, STAIN_COLOURS.get(image.channels[i], (1.0, 1.0, 1.0)), strict=True):
            if share:
                out += np.float32(share) * stretched
    return np.ascontiguousarray(np.moveaxis((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8), 0, -1))


def _stretched(plane: NDArray[np.generic]) -> NDArray[np.float32]:
    values = np.nan_to_num(plane.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    step = max(1, math.isqrt(values.size // SAMPLE_PX))
    low, high = np.percentile(values[::step, ::step], (LOW_PERCENTILE, HIGH_PERCENTILE))
    if not high > low:
        return np.zeros_like(values)
    return np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)


def _square(field: Image.Image, place: Place, edge_px: int) -> Image.Image:
    top, left, bottom, right = place.box
    edge = max(1 if place.mask is not None else edge_px, math.ceil(max(bottom - top, right - left) * (1 + 2 * MARGIN)))
    y, x = (top + bottom - edge) // 2, (left + right - edge) // 2
    square = field.crop((x, y, x + edge, y + edge))  # black where it leaves the field
    return square.resize((edge_px, edge_px), Image.Resampling.BOX) if edge > edge_px else square


def _webp(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    # method 0: a few percent larger than 4, and several times as fast
    picture.save(out, "WEBP", quality=WEBP_QUALITY, method=0)
    return out.getvalue()
