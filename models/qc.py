"""What is wrong with an image: flags that are stored beside it, and reasons to refuse it. Pure."""

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.types import ChannelImage

__all__ = ["SATURATED_SHARE", "TINY_PX", "channel_flags", "check_usable", "qc_flags"]

TINY_PX = 32
"""Images with a shorter edge below this are flagged `tiny`: two patches of 16 px."""

SATURATED_SHARE = 0.01
"""A channel is flagged `saturated` when more than this share of its pixels is at the end of the range."""

# Largest values of cameras with fewer bits than the 16 that they are stored in.
_CAMERA_MAXIMA = {4095, 16383, 65535}


def qc_flags(image: ChannelImage) -> tuple[str, ...]:
    """Flags of an image, sorted; empty for one with nothing to remark. None of them forbids its use by itself.

    Flags:
        flat:<channel>: all pixels of the channel are equal.
        nan: there are NaN or infinite pixels; such an image is rejected on encoding.
        out_of_range: float pixels outside [0, 1].
        saturated:<channel>: more than `SATURATED_SHARE` of the pixels have the largest value of the type, or, for
            uint16, of a 12- or 14-bit camera when nothing exceeds it.
        tiny: the shorter edge is below `TINY_PX` pixels.
    """
    flags = set()
    if min(image.pixels.shape[1:]) < TINY_PX:
        flags.add("tiny")
    for name, plane in zip(image.channels, image.pixels, strict=True):
        flags |= channel_flags(name, plane)
    return tuple(sorted(flags))


def channel_flags(name: str, values: NDArray[np.generic]) -> set[str]:
    """The flags of one channel, as `qc_flags` gives them; none without pixels.

    Args:
        name: Of the channel.
        values: Its pixels, of any shape: all of them, or those of one cell.
    """
    if values.size == 0:
        return set()
    is_float = np.issubdtype(values.dtype, np.floating)
    if is_float and not np.isfinite(values).all():
        return {"nan"}
    low, high = values.min(), values.max()
    if low == high:
        return {f"flat:{name}"}
    flags = set()
    if is_float and (low < 0 or high > 1):
        flags.add("out_of_range")
    if _is_end_of_range(values, high) and np.mean(values == high) > SATURATED_SHARE:
        flags.add(f"saturated:{name}")
    return flags


def _is_end_of_range(plane: NDArray[np.generic], high: np.generic) -> bool:
    if plane.dtype == np.uint8:
        return int(high) == 255
    if plane.dtype == np.uint16:
        return int(high) in _CAMERA_MAXIMA
    return np.issubdtype(plane.dtype, np.floating) and float(high) == 1.0


def check_usable(image: ChannelImage, *, unit_range: bool) -> None:
    """Return if an image can be encoded; raise with the reason if not.

    Args:
        image: Any image.
        unit_range: Whether floats must lie in [0, 1], because nothing will scale them.

    Raises:
        ImageRejectedError: If it has no pixels, another type than uint8, uint16 or float, NaN or infinite pixels, or
            floats outside [0, 1] where `unit_range` is asked for.
    """
    pixels = image.pixels
    if pixels.size == 0:
        message = f"image has no pixels: shape {pixels.shape}"
        raise ImageRejectedError(message)
    if pixels.dtype in (np.uint8, np.uint16):
        return
    if not np.issubdtype(pixels.dtype, np.floating):
        message = f"pixels are {pixels.dtype}: uint8, uint16 or float32 in [0, 1] needed"
        raise ImageRejectedError(message)
    for name, plane in zip(image.channels, pixels, strict=True):
        if n_bad := int(np.count_nonzero(~np.isfinite(plane))):
            message = f"channel {name} has {n_bad} NaN or infinite pixels of {plane.size}"
            raise ImageRejectedError(message)
        low, high = float(plane.min()), float(plane.max())
        if unit_range and (low < 0 or high > 1):
            message = (
                f"channel {name} holds floats from {low:g} to {high:g}; intensity 'unit' takes floats in [0, 1] "
                "as they are: divide them by the camera's range first, or use another intensity"
            )
            raise ImageRejectedError(message)
