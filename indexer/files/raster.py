"""Planes of a PNG or JPEG, read by content. Reads files."""

import struct
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.planes import check_count, check_declared, colour_planes

__all__ = ["raster_size", "read_raster"]

GREY_MODES = ("1", "L", "I;16", "I;16B", "I;16L", "I", "F")


def read_raster(stream: IO[bytes], channels: Sequence[str], *, encoded_bytes: int) -> NDArray[Any]:
    """Planes of a PNG or JPEG.

    Args:
        stream: The file, seekable.
        channels: Declared meanings. A grey file has one; colours are read as `planes.colour_planes` says.
        encoded_bytes: Size of the file.

    Returns:
        (channels, height, width), uint8 or uint16 (16-bit PNG).

    Raises:
        ImageRejectedError: If planes and declaration differ, or the file is damaged or too large.
    """
    head = stream.read(26)
    stream.seek(0)
    if head[:4] == b"\x89PNG" and len(head) == 26:
        width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
        samples = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour, 1)
        check_declared((samples, height, width), max(1, bits // 8), encoded_bytes=encoded_bytes)
        if bits == 16 and samples > 1:
            import imagecodecs  # Pillow would cut 16-bit colours to 8 bits without a word

            return colour_planes(np.atleast_3d(imagecodecs.png_decode(stream.read())), channels)
    with _opened(stream) as image:
        check_declared((len(image.getbands()), image.height, image.width), 1, encoded_bytes=encoded_bytes)
        if image.mode in GREY_MODES:
            check_count(1, channels)
            return np.asarray(image)[None]
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        if image.mode not in ("RGB", "RGBA", "LA"):
            message = f"colours of mode {image.mode} are not intensities; save it as grey or RGB"
            raise ImageRejectedError(message)
        return colour_planes(np.asarray(image), channels)


def _opened(stream: IO[bytes]) -> Image.Image:
    image = Image.open(stream, formats=("PNG", "JPEG"))
    if getattr(image, "n_frames", 1) != 1:
        message = f"an animation of {getattr(image, 'n_frames', 1)} frames; one image is needed"
        raise ImageRejectedError(message)
    return image


def raster_size(stream: IO[bytes]) -> tuple[int, int]:
    """Height and width from the header."""
    with Image.open(stream, formats=("PNG", "JPEG")) as image:
        return image.height, image.width
