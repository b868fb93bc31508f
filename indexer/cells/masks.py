"""Label images as they stand: numbers of cells, never scaled and never taken for intensities. Reads files."""

import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.npy import NPY_MAGIC, open_npy
from locatlas.indexer.files.opening import opened
from locatlas.indexer.files.planes import check_declared, plural
from locatlas.indexer.files.tiff import opened_tiff

__all__ = ["MASK_SUFFIXES", "read_label_image"]

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".npz")

PNG_MAGIC, JPEG_MAGIC, ZIP_MAGIC = b"\x89PNG", b"\xff\xd8\xff", b"PK\x03\x04"
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# PNG's colour types (W3C PNG, 11.2.2) whose samples are no single number: RGB, grey with alpha, RGB with alpha.
PNG_COLOURS = {2: 3, 4: 2, 6: 4}

FOREGROUND_VALUES = (255, 65535)
"""What binary masks are made of besides 0: the largest number of their type."""


def read_label_image(path: Path, *, height: int, width: int, binary: bool = False) -> NDArray[np.integer]:
    """The numbers of a label image: 0 background, every other number one cell; holes in the numbering are fine.

    Formats go by content: PNG (8 and 16 bits, a palette's indices are the numbers), TIFF, npy, and npz with one array
    (the Kaggle masks made with HPA-Cell-Segmentation). A picture in colour whose R, G and B are equal is read as grey.

    A mask that only tells foreground is refused, for its cells could only be guessed: one that holds 0 and 255 (or
    65535), and one that holds 0 and 1 in more than one piece. 0 and 1 in one piece is what a field with one cell looks
    like, and is read as that.

    Args:
        path: The file.
        height: Of the image it belongs to, pixels.
        width: The same.
        binary: Whether a foreground mask will do: for nuclei, whose numbers are looked up in the cells.

    Returns:
        (height, width), any integer type, not negative.

    Raises:
        ImageRejectedError: Naming the file and the reason: missing, damaged, of another size (with both sizes), in
            colour, lossy, of several planes, with numbers that are not whole or negative, or a foreground mask.
    """
    with opened(path) as (stream, encoded_bytes):
        labels = _whole(_plane(_decoded(stream, path, encoded_bytes)))
        if labels.shape != (height, width):
            found = f"{labels.shape[0]} x {labels.shape[1]}"
            message = f"a mask of {found} px for an image of {height} x {width} px; the two must have one size"
            raise ImageRejectedError(message)
        if not binary:
            _check_numbered(labels)
        return labels
    raise AssertionError  # `opened` lets nothing through


def _decoded(stream: IO[bytes], path: Path, encoded_bytes: int) -> NDArray[Any]:
    head = stream.read(8)
    stream.seek(0)
    if head.startswith(PNG_MAGIC):
        return _png(stream, encoded_bytes)
    if head.startswith(TIFF_MAGIC):
        return _tiff(stream, encoded_bytes)
    if head.startswith(NPY_MAGIC):
        array = open_npy(path)
        check_declared(array.shape, array.dtype.itemsize, encoded_bytes=encoded_bytes)
        return np.array(array)
    if head.startswith(ZIP_MAGIC):
        return _npz(stream, encoded_bytes)
    if head.startswith(JPEG_MAGIC):
        message = "a JPEG, which changes the numbers of cells; save masks as PNG or TIFF"
        raise ImageRejectedError(message)
    message = f"not a mask that can be read (PNG, TIFF, npy or npz); it begins with {head[:4]!r}"
    raise ImageRejectedError(message)


def _png(stream: IO[bytes], encoded_bytes: int) -> NDArray[Any]:
    head = stream.read(26)
    stream.seek(0)
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    samples = PNG_COLOURS.get(colour, 1)
    check_declared((height, width, samples), max(1, bits // 8), encoded_bytes=encoded_bytes)
    if samples != 1 and (samples != 3 or bits == 16):
        _refuse_colours(samples)
    with Image.open(stream, formats=("PNG",)) as image:
        if getattr(image, "n_frames", 1) != 1:
            message = f"an animation of {getattr(image, 'n_frames', 1)} frames; one label image is needed"
            raise ImageRejectedError(message)
        array = np.asarray(image)
    return _grey(array) if array.ndim == 3 else array


def _tiff(stream: IO[bytes], encoded_bytes: int) -> NDArray[Any]:
    with opened_tiff(stream) as tif:
        if len(tif.series) != 1:
            message = f"holds {plural(len(tif.series), 'image')} of different kinds; one label image is needed"
            raise ImageRejectedError(message)
        series = tif.series[0]
        page = series.keyframe
        if series.dtype is None or page.dtype is None:
            message = f"numbers of {page.bitspersample} bits in sample format {page.sampleformat} cannot be read"
            raise ImageRejectedError(message)
        check_declared(page.chunks, page.dtype.itemsize, encoded_bytes=encoded_bytes)
        shape = [int(n) for n in series.shape]
        check_declared(shape, series.dtype.itemsize, encoded_bytes=encoded_bytes)
        axes = str(series.axes)
        if "S" in axes and shape[axes.index("S")] > 1:
            if axes != "YXS" or shape[-1] != 3:
                _refuse_colours(shape[axes.index("S")])
            return _grey(series.asarray(maxworkers=1))
        # a palette and an inverted display (MinIsWhite) change how numbers are shown, not the numbers
        return np.asarray(series.asarray(maxworkers=1))


def _npz(stream: IO[bytes], encoded_bytes: int) -> NDArray[Any]:
    with zipfile.ZipFile(stream) as archive:
        names = [entry.filename for entry in archive.infolist()]
        if len(names) != 1 or not names[0].endswith(".npy"):
            message = (
                f"an archive of {plural(len(names), 'file')} ({', '.join(names[:5])}); an npz of one array is needed"
            )
            raise ImageRejectedError(message)
        with archive.open(names[0]) as member:
            version = np.lib.format.read_magic(member)
            if version not in ((1, 0), (2, 0)):
                message = f"npy version {version} cannot be read"
                raise ImageRejectedError(message)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(member)
            check_declared(shape, dtype.itemsize, encoded_bytes=encoded_bytes)
        with archive.open(names[0]) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _grey(array: NDArray[Any]) -> NDArray[Any]:
    if not (np.array_equal(array[..., 0], array[..., 1]) and np.array_equal(array[..., 0], array[..., 2])):
        _refuse_colours(array.shape[-1])
    return array[..., 0]


def _refuse_colours(samples: int) -> None:
    message = (
        f"in colour ({samples} samples a pixel), so the numbers of the cells are lost; save the label image itself"
    )
    raise ImageRejectedError(message)


def _plane(array: NDArray[Any]) -> NDArray[Any]:
    """(height, width), without axes of length 1 in front or behind."""
    shape = array.shape
    while array.ndim > 2 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2:
        message = f"an array of shape {shape}; one plane of (height, width) is needed"
        raise ImageRejectedError(message)
    return array


def _whole(array: NDArray[Any]) -> NDArray[np.integer]:
    """The numbers as integers of this machine's byte order."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array) | (array != np.floor(array)) | (np.abs(array) > np.iinfo(np.int32).max)
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            where = f"{array[row, column]:g} at row {row}, column {column}"
            message = f"{array.dtype} numbers that are not whole or too large, e.g. {where}; cells have whole numbers"
            raise ImageRejectedError(message)
        return array.astype(np.int32)
    if array.dtype.kind not in "ui":
        message = f"dtype {array.dtype}; a label image has whole numbers"
        raise ImageRejectedError(message)
    if array.dtype.kind == "i" and array.size and (lowest := int(array.min())) < 0:
        message = f"holds {lowest}; cells have positive numbers and the background is 0"
        raise ImageRejectedError(message)
    return array


def _check_numbered(labels: NDArray[np.integer]) -> None:
    """Refuse what tells foreground only."""
    highest = int(labels.max())
    if highest not in (1, *FOREGROUND_VALUES) or ((labels != 0) & (labels != highest)).any():
        return
    pieces = ndimage.label(labels, structure=np.ones((3, 3)))[1]
    if highest == 1 and pieces == 1:
        return
    message = (
        f"holds only 0 and {highest} ({plural(pieces, 'piece')}): it tells foreground from background, not one cell "
        "from another; give a label image with a number for each cell"
    )
    raise ImageRejectedError(message)
