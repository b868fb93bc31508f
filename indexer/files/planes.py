"""Decoded arrays to planes of one dtype, with limits on what may be allocated. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.limits import VARIABLE, limits

__all__ = [
    "as_pixels",
    "check_count",
    "check_declared",
    "colour_planes",
    "one_dtype",
    "plural",
]

# Planes of HPA's colours in a colour file that holds a single stain: yellow is shown in red and green.
STAIN_PLANES: dict[str, tuple[int, ...]] = {"microtubules": (0,), "protein": (1,), "nucleus": (2,), "er": (0, 1)}

# Levels of 255 by which another plane's mean may exceed the stain's own: JPEG bleeds a little.
BLEED_LEVELS = 4.0


def plural(count: int, noun: str) -> str:
    """The count with its noun, e.g. "1 plane", "3 planes"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def check_declared(shape: Sequence[int], itemsize: int, *, encoded_bytes: int, slices: int = 1) -> None:
    """Refuse an image by its header, before anything is allocated.

    Args:
        shape: What will be allocated: (channels, height, width) or any shape of the same product.
        itemsize: Bytes per pixel.
        encoded_bytes: Size of the file.
        slices: How many such arrays are read one after another (z slices).

    Raises:
        ImageRejectedError: If the image is empty, too large, or expands more than files of images do.
    """
    pixels = 1
    for size in shape:
        pixels *= int(size)
    if pixels <= 0:
        message = f"the image is empty: shape {tuple(shape)}"
        raise ImageRejectedError(message)
    allowed = limits()
    held, decoded = pixels * itemsize, pixels * itemsize * slices
    if pixels > allowed.pixels or held > allowed.bytes or decoded > allowed.stack_bytes:
        extent = " x ".join(map(str, shape)) + (f" in {slices} slices" if slices > 1 else "")
        found = f"{pixels / 1e6:.0f} megapixels, {decoded / 2**20:.0f} MiB"
        message = (
            f"too large: {extent} is {found}; at most {allowed.pixels / 1e6:.0f} megapixels and "
            f"{(allowed.stack_bytes if slices > 1 else allowed.bytes) / 2**20:.0f} MiB ({VARIABLE} changes that)"
        )
        raise ImageRejectedError(message)
    if decoded > allowed.ratio_free_bytes and decoded > allowed.ratio * encoded_bytes:
        message = (
            f"declares {decoded} bytes of pixels in a file of {encoded_bytes} bytes; refused as a decompression bomb"
        )
        raise ImageRejectedError(message)


def check_count(found: int, channels: Sequence[str], what: str = "") -> None:
    """Refuse an array that does not hold exactly the declared channels.

    Raises:
        ImageRejectedError: With both counts.
    """
    if found != len(channels):
        declared = f"{plural(len(channels), 'channel')} ({', '.join(channels)})"
        message = f"holds {plural(found, 'plane')}{what}, but {declared} declared; truncated, or of another layout"
        raise ImageRejectedError(message)


def colour_planes(image: NDArray[Any], channels: Sequence[str]) -> NDArray[Any]:
    """Planes of a colour image.

    A file of as many colours as declared channels gives its planes in order. A file that holds one stain in its own
    colour (HPA's JPEGs) gives the planes of that colour: microtubules R, protein G, nucleus B, er the mean of R and G
    (rounded half up). Where R, G and B are equal the image is grey and any channel may be read from it.

    Args:
        image: (height, width, samples); samples 2 to 4, the last of 2 or 4 being alpha unless as many are declared.
        channels: Declared meanings.

    Returns:
        (channels, height, width), the dtype of the input.

    Raises:
        ImageRejectedError: If the number of planes does not fit, transparency would be lost, or the stain is not in
            the colour where it is expected.
    """
    samples = image.shape[-1]
    if samples == len(channels):
        return np.ascontiguousarray(np.moveaxis(image, -1, 0))
    if samples in (2, 4):
        alpha = image[..., -1]
        opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1
        if not bool((alpha == opaque).all()):
            message = "has transparency, which is not a stain; save it without an alpha channel"
            raise ImageRejectedError(message)
        image = image[..., :-1]
        samples -= 1
    if samples == len(channels):
        return np.ascontiguousarray(np.moveaxis(image, -1, 0))
    if samples != 3 or len(channels) != 1:
        check_count(samples, channels, " (colours)")
    return _stain(image, channels[0])[None]


def _stain(rgb: NDArray[Any], channel: str) -> NDArray[Any]:
    if np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2]):
        return np.ascontiguousarray(rgb[..., 0])
    planes = STAIN_PLANES.get(channel)
    if planes is None:
        known = ", ".join(STAIN_PLANES)
        message = (
            f"a colour image for the one channel {channel!r}: its colour is known only for {known}; save it as grey"
        )
        raise ImageRejectedError(message)
    means = rgb.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    scale = 255 / np.iinfo(rgb.dtype).max if rgb.dtype.kind in "ui" else 255.0
    if (means.max() - max(means[list(planes)])) * scale > BLEED_LEVELS:
        expected = " and ".join("RGB"[i] for i in planes)
        message = (
            f"channel {channel!r} is expected in {expected}, but the image is brightest in {'RGB'[int(means.argmax())]}"
        )
        raise ImageRejectedError(message)
    if len(planes) == 1:
        return np.ascontiguousarray(rgb[..., planes[0]])
    if rgb.dtype.kind in "ui":
        total = rgb[..., planes[0]].astype(np.uint32) + rgb[..., planes[1]]
        halved: NDArray[Any] = ((total + 1) // 2).astype(rgb.dtype)
        return halved
    mean: NDArray[Any] = (rgb[..., planes[0]] + rgb[..., planes[1]]) / 2
    return mean


def as_pixels(array: NDArray[Any]) -> NDArray[Any]:
    """The array as uint8, uint16 or float32.

    uint8 and uint16 stay; floats become float32 unchanged, NaN included; bool becomes 0 and 255; other integers
    become uint16 where all values fit (cameras' int16, label-like uint32).

    Raises:
        ImageRejectedError: If values are outside uint16, or the dtype is not a number (complex, text).
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype in (np.uint8, np.uint16, np.float32):
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # 1e300 becomes inf, which the quality flags report
            return array.astype(np.float32)
    if array.dtype.kind in "ui":
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 65535:
            message = f"{array.dtype} values from {low} to {high} do not fit uint16; rescale the image first"
            raise ImageRejectedError(message)
        return array.astype(np.uint16)
    message = f"pixels of dtype {array.dtype} are not intensities"
    raise ImageRejectedError(message)


def one_dtype(planes: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Stack planes (each (channels, height, width)) along channels, in one dtype.

    Equal dtypes stay. Mixed ones (uint8 with uint16, or integers with floats) become float32 in units of their own
    type's range, so uint8 255 and uint16 65535 are both 1.0.
    """
    if len({plane.dtype for plane in planes}) == 1:
        return np.concatenate(planes) if len(planes) > 1 else planes[0]
    ranged = [
        plane.astype(np.float32) / np.float32(np.iinfo(plane.dtype).max) if plane.dtype.kind == "u" else plane
        for plane in planes
    ]
    return np.concatenate(ranged)
