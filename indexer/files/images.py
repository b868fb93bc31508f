"""Pixels of a record, with a digest of the bytes they were read from. Reads files."""

import gzip
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.h5sc import HDF5_MAGIC, read_cell_row
from locatlas.indexer.files.limits import limits
from locatlas.indexer.files.npy import NPY_MAGIC, open_npy
from locatlas.indexer.files.opening import opened
from locatlas.indexer.files.planes import (
    as_pixels,
    check_count,
    check_declared,
    one_dtype,
)
from locatlas.indexer.files.raster import raster_size, read_raster
from locatlas.indexer.files.thumbnails import thumbnail
from locatlas.indexer.files.tiff import read_tiff, tiff_header
from locatlas.indexer.records import ImageRecord, Source
from locatlas.types import ChannelImage

__all__ = ["image_header", "read_image", "source_digest", "thumbnail"]

DIGEST_BYTES = 16

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
RASTER_MAGIC = (b"\x89PNG", b"\xff\xd8\xff")
GZIP_MAGIC = b"\x1f\x8b"

GUNZIPPED_BYTES = 2**20


def read_image(record: ImageRecord) -> tuple[ChannelImage, str]:
    """All planes of a record.

    Formats go by content, not by name: TIFF (ImageJ, OME, plain; stacks projected by maximum over z), gzipped TIFF,
    PNG, JPEG, and npy or scPortrait's HDF5 (the row that the record names of a stacked array).

    Args:
        record: What a reader yielded.

    Returns:
        The image, uint8, uint16 or float32 (mixed types become float32 in units of each type's range), and
        blake2b-128 in hex: of the file's bytes where there is one source (`b2sum -l 128` gives the same), of the
        concatenated raw digests of the sources in order where there are several. For a row of a stacked file its
        bytes are those of the row, decoded.

    Raises:
        ImageRejectedError: Naming the file and the reason: missing, not a plain file, not an image, damaged, too
            large, or not holding the declared channels.
    """
    planes: list[NDArray[Any]] = []
    digests: list[bytes] = []
    for source in record.sources:
        pixels, digest = _read_source(source, record.row)
        _check_sum(source.path, [*planes, pixels])
        if planes and pixels.shape[1:] != planes[0].shape[1:]:
            first = f"{record.sources[0].path.name} has {planes[0].shape[1]} x {planes[0].shape[2]}"
            size = f"{pixels.shape[1]} x {pixels.shape[2]}"
            message = f"{source.path}: {size} pixels, but {first}; channels must be of one size"
            raise ImageRejectedError(message)
        planes.append(pixels)
        digests.append(digest)
    if not planes:
        message = f"{record.id}: names no source file"
        raise ImageRejectedError(message)
    image = ChannelImage(one_dtype(planes), record.channels, record.pixel_size_um)
    return image, _combined(digests)


def source_digest(record: ImageRecord) -> str:
    """The digest that `read_image` gives, without decoding.

    Raises:
        ImageRejectedError: If a source cannot be read.
    """
    digests = []
    for source in record.sources:
        with opened(source.path) as (stream, _size):
            digests.append(_hashed(stream) if record.row is None else _row(stream, source.path, record.row)[1])
    return _combined(digests)


def image_header(path: Path) -> tuple[int, int, float | None] | None:
    """Height, width and stated pixel size (micrometres) from the header, without reading pixels.

    Returns:
        None where the header cannot be read, or not cheaply (gzip, npy): `read_image` reports what is wrong.
    """
    try:
        with opened(path) as (stream, _size):
            head = stream.read(8)
            stream.seek(0)
            if head.startswith(TIFF_MAGIC):
                return tiff_header(stream)
            if head.startswith(RASTER_MAGIC):
                return (*raster_size(stream), None)
    except ImageRejectedError:
        return None
    return None


def _check_sum(path: Path, planes: Sequence[NDArray[Any]]) -> None:
    """Refuse files that are each small enough, but make a too large image together."""
    pixels, held = sum(p.size for p in planes), sum(p.nbytes for p in planes)
    allowed = limits()
    if len(planes) > 1 and (pixels > allowed.pixels or held > allowed.bytes):
        message = (
            f"{path}: too large together with the image's other files: {pixels / 1e6:.0f} megapixels, "
            f"{held / 2**20:.0f} MiB; at most {allowed.pixels / 1e6:.0f} megapixels and {allowed.bytes / 2**20:.0f} MiB"
        )
        raise ImageRejectedError(message)


def _combined(digests: Sequence[bytes]) -> str:
    if len(digests) == 1:
        return digests[0].hex()
    return hashlib.blake2b(b"".join(digests), digest_size=DIGEST_BYTES).hexdigest()


def _hashed(stream: IO[bytes]) -> bytes:
    digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).digest()  # type: ignore[arg-type]
    stream.seek(0)
    return digest


def _read_source(source: Source, row: int | None) -> tuple[NDArray[Any], bytes]:
    """Planes (channels, height, width) and raw digest of one file."""
    with opened(source.path) as (stream, size):
        if row is not None:
            plane, digest = _row(stream, source.path, row)
            return as_pixels(_wanted(_npy_planes(plane, source.channels), source)), digest
        digest = _hashed(stream)
        return as_pixels(_wanted(_decoded(stream, source, size), source)), digest
    raise AssertionError  # `opened` lets nothing through


def _wanted(planes: NDArray[Any], source: Source) -> NDArray[Any]:
    """Without the planes that have no meaning."""
    return planes if all(source.channels) else planes[[bool(channel) for channel in source.channels]]


def _decoded(stream: IO[bytes], source: Source, size: int) -> NDArray[Any]:
    head = stream.read(8)
    stream.seek(0)
    if head.startswith(GZIP_MAGIC):
        stream = _gunzipped(stream, size)
        head = TIFF_MAGIC[0]
    if head.startswith(TIFF_MAGIC):
        return read_tiff(stream, source.channels, encoded_bytes=size)
    if head.startswith(RASTER_MAGIC):
        return read_raster(stream, source.channels, encoded_bytes=size)
    if head.startswith(NPY_MAGIC):
        array = open_npy(source.path)
        check_declared(array.shape, array.dtype.itemsize, encoded_bytes=size)
        return _npy_planes(np.array(array), source.channels)
    message = f"not an image that can be read (TIFF, PNG, JPEG or npy); it begins with {head[:4]!r}"
    raise ImageRejectedError(message)


def _gunzipped(stream: IO[bytes], size: int) -> io.BytesIO:
    allowed = limits()
    limit = min(allowed.bytes, max(allowed.ratio_free_bytes, allowed.ratio * size))
    data = io.BytesIO()
    with gzip.GzipFile(fileobj=stream) as unzipped:
        while part := unzipped.read(GUNZIPPED_BYTES):  # a larger piece would be allocated before it is there
            if not data.tell() and not part.startswith(TIFF_MAGIC):
                message = "gzip of something that is not a TIFF"
                raise ImageRejectedError(message)
            data.write(part)
            if data.tell() > limit:
                message = f"expands from {size} to more than {limit} bytes; refused as a decompression bomb"
                raise ImageRejectedError(message)
    data.seek(0)
    return data


def _row(stream: IO[bytes], path: Path, row: int) -> tuple[NDArray[Any], bytes]:
    """One image of a stacked file, and the digest of its bytes."""
    if stream.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
        plane = read_cell_row(path, row)
        return plane, hashlib.blake2b(plane.tobytes(), digest_size=DIGEST_BYTES).digest()
    array = open_npy(path)
    if array.ndim < 3 or not 0 <= row < len(array):
        message = f"has no image {row}: an array of shape {array.shape}"
        raise ImageRejectedError(message)
    check_declared(array.shape[1:], array.dtype.itemsize, encoded_bytes=array.nbytes)
    plane = np.ascontiguousarray(array[row])
    return plane, hashlib.blake2b(plane.tobytes(), digest_size=DIGEST_BYTES).digest()


def _npy_planes(array: NDArray[Any], channels: Sequence[str]) -> NDArray[Any]:
    """(channels, height, width) of (height, width), (1 or channels, height, width) or one trailing channel axis."""
    if array.ndim == 3 and array.shape[-1] == 1 and array.shape[0] != len(channels):
        array = array[..., 0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        message = f"an array of shape {array.shape}; (channels, height, width) is needed"
        raise ImageRejectedError(message)
    check_count(array.shape[0], channels, f" (shape {array.shape})")
    return array
