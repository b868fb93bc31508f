"""Planes of a TIFF, checked against the declared channels; stacks projected by maximum. Reads files."""

import logging
import math
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.planes import check_count, check_declared, colour_planes, plural

__all__ = ["opened_tiff", "read_tiff", "tiff_header"]

# Axes without a name: tifffile's Q (unknown) and I (image sequence) for pages that no metadata describe.
UNNAMED_AXES = "QI"

# OME-XML's sizes of an image beside height and width.
_PIXELS = re.compile(r"<(?:\w{1,64}:)?Pixels\b[^>]{0,65536}")
_PLANES = re.compile(r"\bSize[CZT]\s{0,99}=\s{0,99}[\"']\s{0,99}([0-9]{1,30})")


class _OwnThread(logging.Handler):
    """Keeps tifffile's errors of the thread that made it; other threads read other files meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.thread_id = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread_id:
            self.messages.append(" ".join(record.getMessage().split()))


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Raise what tifffile only logs: a truncated file may read as a smaller array with nothing but a log line."""
    logger, handler = logging.getLogger("tifffile"), _OwnThread()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if handler.messages:
        message = f"damaged TIFF: {handler.messages[0]}"
        raise ImageRejectedError(message)


@contextmanager
def opened_tiff(stream: IO[bytes]) -> Iterator[tifffile.TiffFile]:
    """A TIFF that names no other files; what tifffile finds damaged in it is raised when it is closed.

    Raises:
        ImageRejectedError: If the file is damaged. Does not name it.
    """
    # OME, Micro-Manager and NDTiff files name or glob for others, which could lie outside the declared roots
    with (
        _errors_raised(),
        tifffile.TiffFile(stream, name="image", _multifile=False, is_mmstack=False, is_ndtiff=False) as tif,
    ):
        _check_announced(tif)
        yield tif


def _check_announced(tif: tifffile.TiffFile) -> None:
    """Refuse what announces more planes than its bytes can hold: tifffile makes a list of them first."""
    said = tif.pages[0].tags.get("ImageDescription") if len(tif.pages) else None
    if said is None or not tif.is_ome:
        return
    for pixels in _PIXELS.findall(str(said.value)):
        planes = math.prod(int(size) for size in _PLANES.findall(pixels))
        if planes > tif.filehandle.size:
            message = f"announces {planes} planes in a file of {tif.filehandle.size} bytes"
            raise ImageRejectedError(message)


def read_tiff(stream: IO[bytes], channels: Sequence[str], *, encoded_bytes: int) -> NDArray[Any]:
    """Planes of the first and only series.

    Axes are taken from the file (ImageJ, OME or tifffile's own metadata). Z is projected by maximum, slice by slice;
    T must be 1. Pages that no metadata describe are channels if there are exactly as many as declared. References to
    other files in OME-XML are not followed.

    Args:
        stream: The file, seekable.
        channels: Declared meanings, in the order of the planes.
        encoded_bytes: Size of the file.

    Returns:
        (channels, height, width), the file's dtype.

    Raises:
        ImageRejectedError: If planes and declaration differ, axes are ambiguous, the file is damaged or too large.
    """
    with opened_tiff(stream) as tif:
        shapes = [series.shape for series in tif.series]
        if not shapes:
            message = "holds no image"
            raise ImageRejectedError(message)
        if len(shapes) != 1:
            message = (
                f"holds {plural(len(shapes), 'image')} of different kinds, shapes {shapes[:4]}; exactly one is needed"
            )
            raise ImageRejectedError(message)
        series = tif.series[0]
        axes, shape = str(series.axes), tuple(int(n) for n in series.shape)
        _check_pages(series, encoded_bytes)
        roles = _roles(axes, shape, channels)
        if "Z" in roles:
            planes = _project(series, roles, encoded_bytes)
        else:
            check_declared(shape, series.dtype.itemsize, encoded_bytes=encoded_bytes)
            planes = _arrange(series.asarray(maxworkers=1), roles, channels)
        if series.keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE and planes.dtype.kind == "u":
            planes = np.iinfo(planes.dtype).max - planes  # the TIFF 6.0 meaning of MinIsWhite
    return planes


def _check_pages(series: Any, encoded_bytes: int) -> None:
    page = series.keyframe
    if series.dtype is None or page.dtype is None:
        message = f"pixels of {page.bitspersample} bits in sample format {page.sampleformat} cannot be read"
        raise ImageRejectedError(message)
    # a tile is decoded whole, even where it is larger than the image
    check_declared(page.chunks, page.dtype.itemsize, encoded_bytes=encoded_bytes)
    if series.dataoffset is None and any(p is None for p in series.pages):
        message = "pages are missing that its metadata announce"
        raise ImageRejectedError(message)
    colormap = page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE else None
    # ImageJ saves a look-up table with intensities; elsewhere a palette's numbers mean nothing
    if colormap is not None and (np.diff(colormap.astype(np.int64), axis=1) < 0).any():
        message = "has a colour palette whose numbers are not intensities; save it as grey"
        raise ImageRejectedError(message)


def _roles(axes: str, shape: tuple[int, ...], channels: Sequence[str]) -> str:
    """The axes with C, S, Z, Y, X only, those of length 1 as "1"."""
    roles = []
    for axis, size in zip(axes, shape, strict=True):
        if axis in "YX":
            roles.append(axis)
        elif size == 1:
            roles.append("1")
        elif axis in "CSZ":
            roles.append(axis)
        elif axis in UNNAMED_AXES and size == len(channels):
            roles.append("C")
        elif axis in UNNAMED_AXES:
            check_count(size, channels, f" (axes {axes}, shape {shape})")
        else:
            noun = "time points" if axis == "T" else f"steps along axis {axis}"
            message = f"holds {size} {noun} (axes {axes}, shape {shape}); one image is needed"
            raise ImageRejectedError(message)
    found = "".join(roles)
    if (
        found.count("Y") != 1
        or found.count("X") != 1
        or any(found.count(a) > 1 for a in "CSZ")
        or {"C", "S"} <= set(found)
    ):
        message = (
            f"ambiguous axes {axes} of shape {shape} for {plural(len(channels), 'channel')} ({', '.join(channels)})"
        )
        raise ImageRejectedError(message)
    if "S" not in found:
        count = shape[found.index("C")] if "C" in found else 1
        check_count(count, channels, f" (axes {axes}, shape {shape})")
    elif "Z" in found:
        message = f"a colour stack (axes {axes}, shape {shape}) cannot be read; save the stack as grey channels"
        raise ImageRejectedError(message)
    return found


def _arrange(array: NDArray[Any], roles: str, channels: Sequence[str]) -> NDArray[Any]:
    """(channels, height, width) of an array whose axes are `roles`, without Z."""
    array = array.reshape([n for n, role in zip(array.shape, roles, strict=True) if role != "1"])
    roles = roles.replace("1", "")
    if "S" in roles:
        return colour_planes(np.transpose(array, [roles.index(a) for a in "YXS"]), channels)
    if "C" in roles:
        return np.ascontiguousarray(np.transpose(array, [roles.index(a) for a in "CYX"]))
    return np.ascontiguousarray(np.transpose(array, [roles.index(a) for a in "YX"]))[None]


def _project(series: Any, roles: str, encoded_bytes: int) -> NDArray[Any]:
    """Maximum over Z, holding one slice and the result."""
    outer = roles[:-2]
    shape = tuple(int(n) for n in series.shape)
    if roles[-2:] != "YX" or len(series.pages) != int(np.prod(shape[:-2], dtype=np.int64)):
        message = (
            f"a stack of axes {series.axes} is not stored slice by slice; save it as an ImageJ or OME-TIFF hyperstack"
        )
        raise ImageRejectedError(message)
    n_channels = shape[outer.index("C")] if "C" in outer else 1
    height, width = shape[-2:]
    n_slices = shape[outer.index("Z")]
    check_declared((n_channels, height, width), series.dtype.itemsize, encoded_bytes=encoded_bytes, slices=n_slices)
    projection = np.zeros((n_channels, height, width), series.dtype)
    filled = [False] * n_channels
    for position, where in enumerate(np.ndindex(*shape[:-2])):
        channel = where[outer.index("C")] if "C" in outer else 0
        plane = _slice(series, position, (height, width))
        if filled[channel]:
            np.maximum(projection[channel], plane, out=projection[channel])
        else:
            projection[channel], filled[channel] = plane, True
    return projection


def _slice(series: Any, position: int, shape: tuple[int, int]) -> NDArray[Any]:
    if series.dataoffset is None:
        try:
            page = series.pages[position]
        except IndexError as error:
            message = f"truncated: slice {position} of the announced {len(series.pages)} is missing"
            raise ImageRejectedError(message) from error
        plane: NDArray[Any] = np.asarray(page.asarray(maxworkers=1)).reshape(shape)
        return plane
    # one run of uncompressed pixels, which may have a single page entry for all slices
    count = shape[0] * shape[1]
    handle = series.parent.filehandle
    stored = np.dtype(series.parent.byteorder + series.dtype.char)
    handle.seek(series.dataoffset + position * count * stored.itemsize)
    data = handle.read(count * stored.itemsize)
    if len(data) != count * stored.itemsize:
        message = f"truncated: slice {position} has {len(data)} of {count * stored.itemsize} bytes"
        raise ImageRejectedError(message)
    return np.frombuffer(data, stored).reshape(shape)


def tiff_header(stream: IO[bytes]) -> tuple[int, int, float | None]:
    """Height, width and the pixel size in micrometres that the file itself states, without reading pixels.

    Only a unit makes a size: ImageJ's `unit=micron` with the resolution tag, or OME's PhysicalSizeX in micrometres. A
    resolution of 1/1 without a unit, as in files that no microscope wrote, is no pixel size.

    Raises:
        ImageRejectedError: If the file is damaged.
    """
    with opened_tiff(stream) as tif:
        page = tif.pages[0]
        size_um = None
        unit = str((tif.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
        resolution = page.tags.get("XResolution")
        if unit in ("um", "µm", "μm", "micron", "microns") and resolution is not None:
            pixels, microns = resolution.value
            size_um = microns / pixels if pixels and microns else None
        return int(page.imagelength), int(page.imagewidth), size_um
