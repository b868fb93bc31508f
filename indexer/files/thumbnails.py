"""Small colour pictures of images for people to look at. Pure."""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from locatlas.types import ChannelImage

__all__ = ["STAIN_COLOURS", "thumbnail", "value_range"]

# HPA's colours as red, green, blue; ER is shown weakly because it would cover the protein.
STAIN_COLOURS: dict[str, tuple[float, float, float]] = {
    "nucleus": (0.0, 0.0, 1.0),
    "protein": (0.0, 1.0, 0.0),
    "microtubules": (1.0, 0.0, 0.0),
    "er": (0.35, 0.35, 0.0),
}

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.8
WEBP_QUALITY = 80

SAMPLE_PX = 65_536
"""About as many pixels tell the percentiles of a field."""


def thumbnail(
    image: ChannelImage,
    *,
    edge_px: int = 96,
    colours: Mapping[str, tuple[float, float, float]] | None = None,
    ranges: Sequence[tuple[float, float]] | None = None,
) -> bytes:
    """A WebP picture of the image: nucleus blue, protein green, microtubules red, er weakly yellow.

    The image is reduced by averaging first, then each channel is stretched between its 0.5th and 99.8th percentile; a
    flat channel stays black, and NaN counts as 0. Channels of other names are shown in grey only where none of the
    four is there. The same image gives the same bytes (with the same Pillow).

    Args:
        image: Any size and dtype of `ChannelImage`.
        edge_px: Longest edge of the picture, >= 1; a smaller image is not enlarged.
        colours: Channels to show, as red, green, blue in [0, 1]; those that the image lacks are passed over. None for
            `STAIN_COLOURS`.
        ranges: Value of each channel of the image that is shown as black, and as full; None for the percentiles.

    Returns:
        An RGB WebP file.

    Raises:
        ValueError: If `edge_px` is below 1.
    """
    if edge_px < 1:
        message = f"edge_px must be at least 1, got {edge_px}"
        raise ValueError(message)
    wanted = STAIN_COLOURS if colours is None else colours
    shown = [i for i, name in enumerate(image.channels) if name in wanted]
    if not shown and colours is None:
        shown = [0]
    height, width = image.pixels.shape[1:]
    scale = min(1.0, edge_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    composite = np.zeros((size[1], size[0], 3), np.float32)
    for i in shown:
        colour = wanted.get(image.channels[i], (1.0, 1.0, 1.0))
        stretched = _stretched(image.pixels[i], size, None if ranges is None else ranges[i])
        composite += stretched[..., None] * np.array(colour, np.float32)
    rgb = (np.clip(composite, 0, 1) * 255 + 0.5).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "WEBP", quality=WEBP_QUALITY, method=4)
    return out.getvalue()


def value_range(
    plane: NDArray[np.generic], low: float = LOW_PERCENTILE, high: float = HIGH_PERCENTILE
) -> tuple[float, float]:
    """Two percentiles of the values of a whole channel, of a regular sample of its pixels; NaN counts as 0.

    Args:
        plane: One channel.
        low: Lower percentile, 0 to 100.
        high: Upper percentile.
    """
    step = max(1, math.isqrt(plane.size // SAMPLE_PX))
    sample = np.nan_to_num(plane[::step, ::step].astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    bottom, top = np.percentile(sample, (low, high))
    return float(bottom), float(top)


def _stretched(
    plane: NDArray[np.generic], size: tuple[int, int], limits: tuple[float, float] | None
) -> NDArray[np.float32]:
    """The plane at (width, height) `size`, float32 in [0, 1]."""
    values = plane.astype(np.float32)
    if plane.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    small = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX), dtype=np.float64)
    low, high = np.percentile(small, (LOW_PERCENTILE, HIGH_PERCENTILE)) if limits is None else limits
    if not high > low:
        return np.zeros((size[1], size[0]), np.float32)
    return np.clip((small - low) / (high - low), 0, 1).astype(np.float32)
