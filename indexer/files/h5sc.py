"""scPortrait's single cells: one row of an HDF5 file at a time, and what the file says of its rows. Reads files.

The layout is that of scPortrait 1.8.0 (io/h5sc.py and pipeline/extraction.py): an AnnData file with the images in
obsm/single_cell_images, (cells, channels, height, width), float16 in [0, 1], masks first. The names and kinds of the
channels are its attributes channel_names and channel_mapping ("mask" or "image_channel"). obs/cell_id numbers cells.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.opening import opened
from locatlas.indexer.files.planes import check_declared

__all__ = ["CELL_ID", "HDF5_MAGIC", "CellFile", "read_cell_file", "read_cell_row"]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
IMAGES = ("obsm", "single_cell_images")
KINDS = ("mask", "image_channel")
CELL_ID = "cell_id"


@dataclass(frozen=True, slots=True)
class CellFile:
    """What a file says before its images are read.

    Attributes:
        n_cells: Rows.
        names: Of the channels, masks among them.
        kinds: "mask" or "image_channel" of each.
        columns: Columns of obs as text, "" where empty; `cell_id` is always there.
        left_out: Columns of obs whose encoding is not known.
    """

    n_cells: int
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    columns: Mapping[str, Sequence[str]]
    left_out: tuple[str, ...]


def read_cell_file(path: Path) -> CellFile:
    """Channels and cells of a file, without its images.

    Raises:
        ImageRejectedError: Naming the file: not scPortrait's, damaged, or referring to other files.
    """
    with _open(path) as file:
        images = _images(file)
        names, kinds = (_texts(images.attrs.get(name)) for name in ("channel_names", "channel_mapping"))
        if not len(names) == len(kinds) == images.shape[1]:
            said = f"{len(names)} channel_names and {len(kinds)} entries of channel_mapping"
            message = f"{images.shape[1]} channels, but {said}"
            raise ImageRejectedError(message)
        if unknown := sorted(set(kinds) - set(KINDS)):
            message = f"channel_mapping has {', '.join(unknown)}; known: {', '.join(KINDS)}"
            raise ImageRejectedError(message)
        columns, left_out = _columns(_child(file, "obs"), images.shape[0])
        if CELL_ID not in columns:
            message = f"obs has no column {CELL_ID}"
            raise ImageRejectedError(message)
        return CellFile(images.shape[0], names, kinds, columns, left_out)
    raise AssertionError  # `opened` lets nothing through


def read_cell_row(path: Path, row: int) -> NDArray[Any]:
    """All channels of one cell, masks among them, (channels, height, width), the file's dtype.

    Raises:
        ImageRejectedError: If there is no such row, or as `read_cell_file`.
    """
    with _open(path) as file:
        images = _images(file)
        if not 0 <= row < images.shape[0]:
            message = f"has no image {row}: {images.shape[0]} cells"
            raise ImageRejectedError(message)
        return np.ascontiguousarray(images[row])
    raise AssertionError  # `opened` lets nothing through


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    import h5py

    with opened(path) as (stream, _size):
        if stream.read(len(HDF5_MAGIC)) != HDF5_MAGIC:
            message = "not an HDF5 file"
            raise ImageRejectedError(message)
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file


def _child(parent: Any, name: str) -> Any:
    """A member that lies in the file itself: links could lead to files outside of the declared roots."""
    import h5py

    link = parent.get(name, getlink=True) if isinstance(parent, h5py.Group) else None
    if link is None:
        message = f"no scPortrait file: {name} is missing in {parent.name!r}"
        raise ImageRejectedError(message)
    if not isinstance(link, h5py.HardLink):
        message = f"{name} is a link to elsewhere, which is not followed"
        raise ImageRejectedError(message)
    found = parent[name]
    if isinstance(found, h5py.Dataset) and (found.is_virtual or found.external):
        message = f"{name} is kept in other files, which are not read"
        raise ImageRejectedError(message)
    return found


def _images(file: Any) -> Any:
    import h5py

    images = _child(_child(file, IMAGES[0]), IMAGES[1])
    if not isinstance(images, h5py.Dataset) or len(images.shape) != 4 or images.dtype.kind not in "fu":
        found = f"{images.shape} of {images.dtype}" if isinstance(images, h5py.Dataset) else "a group"
        message = f"{'/'.join(IMAGES)} is {found}; images of (cells, channels, height, width) are needed"
        raise ImageRejectedError(message)
    if images.shape[0]:
        n_bytes = int(np.prod(images.shape, dtype=np.float64)) * images.dtype.itemsize
        check_declared(images.shape[1:], images.dtype.itemsize, encoded_bytes=n_bytes)
        if images.chunks:  # a chunk is decoded whole, even where it is larger than a row
            check_declared(images.chunks, images.dtype.itemsize, encoded_bytes=n_bytes)
    return images


def _columns(obs: Any, n_cells: int) -> tuple[dict[str, Sequence[str]], tuple[str, ...]]:
    """Columns of an AnnData table as text, and the names of those that cannot be read."""
    found: dict[str, Sequence[str]] = {}
    left_out = []
    for name in obs:
        if name == obs.attrs.get("_index"):
            continue
        values = _column(_child(obs, name), n_cells)
        if values is None:
            left_out.append(str(name))
        elif len(values) != n_cells:
            message = f"obs/{name} has {len(values)} entries for {n_cells} cells"
            raise ImageRejectedError(message)
        else:
            found[str(name)] = values
    return found, tuple(sorted(left_out))


def _column(column: Any, n_cells: int) -> Sequence[str] | None:
    """AnnData's encodings: an array, categories with codes, or values with a mask of the missing ones."""
    import h5py

    if isinstance(column, h5py.Dataset):
        return _texts(_entries(column, n_cells)) if len(column.shape) == 1 else None
    if {"categories", "codes"} <= set(column):
        categories = _texts(_entries(_child(column, "categories"), None))
        codes = _entries(_child(column, "codes"), n_cells).astype(np.int64)
        if len(codes) and codes.max() >= len(categories):
            message = f"{column.name} has the code {codes.max()} for {len(categories)} categories"
            raise ImageRejectedError(message)
        return tuple(categories[code] if code >= 0 else "" for code in codes.tolist())
    if {"values", "mask"} <= set(column):
        values, missing = (_entries(_child(column, part), n_cells) for part in ("values", "mask"))
        values = _texts(values)
        return tuple("" if none else value for value, none in zip(values, missing.tolist(), strict=True))
    return None


def _entries(dataset: Any, n_cells: int | None) -> Any:
    """The entries of a column, looked at before they are read: a file says any number of entries without having them.

    Args:
        dataset: Of one axis.
        n_cells: How many there must be; None for any number.
    """
    if len(dataset.shape) != 1 or n_cells not in (None, dataset.shape[0]):
        message = f"{dataset.name} has entries of shape {dataset.shape} for {n_cells} cells"
        raise ImageRejectedError(message)
    if dataset.shape[0]:
        size = dataset.file.id.get_filesize()
        check_declared(dataset.shape, max(8, dataset.dtype.itemsize), encoded_bytes=size)
    return dataset[()]


def _texts(values: Any) -> tuple[str, ...]:
    """Values as text: bytes as UTF-8, whole floats without a point, NaN as ""."""
    return tuple(_text(value) for value in np.asarray([] if values is None else values).ravel().tolist())


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else str(value)
    return str(value)
