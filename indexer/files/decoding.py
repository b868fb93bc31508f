"""Files from outside read in a process of their own (`decoders`), with the readers' results and errors. I/O."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files import images
from locatlas.indexer.files.decoder_process import NO_ANSWER
from locatlas.indexer.files.decoders import decoders
from locatlas.indexer.files.h5sc import CellFile
from locatlas.indexer.records import ImageRecord
from locatlas.types import ChannelImage

__all__ = ["image_header", "read_cell_file", "read_image", "read_label_image", "source_digest", "unpacked_parquet"]


def read_image(record: ImageRecord) -> tuple[ChannelImage, str]:
    """What `images.read_image` gives.

    Raises:
        ImageRejectedError: As there, and if the file ends its decoder, or takes more memory or time than is allowed.
        LocatlasError: If no decoder can be started.
    """
    if not record.sources:
        return images.read_image(record)  # says so
    answer, pixels = decoders().ask({"what": "image", **_asked(record)}, named=str(record.sources[0].path))
    with _read_as(record.sources[0].path):
        return ChannelImage(_array(pixels), record.channels, record.pixel_size_um), str(answer["digest"])


def source_digest(record: ImageRecord) -> str:
    """What `images.source_digest` gives.

    Raises:
        ImageRejectedError: As `read_image`.
    """
    if record.row is None:
        return images.source_digest(record)  # bytes only, nothing is decoded
    answer, _ = decoders().ask({"what": "digest", **_asked(record)}, named=str(record.sources[0].path))
    with _read_as(record.sources[0].path):
        return str(answer["digest"])


def image_header(path: Path) -> tuple[int, int, float | None] | None:
    """What `images.image_header` gives: None for a file that ends its decoder, too; `read_image` says so."""
    try:
        answer, _ = decoders().ask({"what": "header", "path": _absolute(path)}, named=str(path))
        with _read_as(path):
            found: list[Any] | None = answer["header"]
            if found is None:
                return None
            return int(found[0]), int(found[1]), None if found[2] is None else float(found[2])
    except ImageRejectedError:
        return None


def read_label_image(path: Path, *, height: int, width: int, binary: bool = False) -> NDArray[np.integer]:
    """What `masks.read_label_image` gives.

    Raises:
        ImageRejectedError: As there, and as `read_image`.
    """
    asked = {"what": "mask", "path": _absolute(path), "height": height, "width": width, "binary": binary}
    _, labels = decoders().ask(asked, named=str(path))
    with _read_as(path):
        if (found := _array(labels)).shape != (height, width):
            raise ValueError(NO_ANSWER)
        return found


def read_cell_file(path: Path) -> CellFile:
    """What `h5sc.read_cell_file` gives.

    Raises:
        ImageRejectedError: As there, and as `read_image`.
    """
    answer, _ = decoders().ask({"what": "cells", "path": _absolute(path)}, named=str(path))
    with _read_as(path):
        said = answer["cells"]
        columns = {name: tuple(values) for name, values in said["columns"].items()}
        names, kinds, left_out = (tuple(map(str, said[part])) for part in ("names", "kinds", "left_out"))
        return CellFile(int(said["n_cells"]), names, kinds, columns, left_out)


def unpacked_parquet(path: Path) -> int:
    """What `unpacked.bytes_of_parquet` gives.

    Raises:
        ImageRejectedError: If the footer cannot be read, or ends the process that reads it.
    """
    answer, _ = decoders().ask({"what": "parquet", "path": _absolute(path)}, named=str(path))
    with _read_as(path):
        return int(answer["bytes"])


@contextmanager
def _read_as(path: Path) -> Iterator[None]:
    """What an answer lacks or has of another kind, as a fault of the file: a decoder left alone never says such."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        message = f"{path}: {NO_ANSWER}"
        raise ImageRejectedError(message) from error


def _array(found: NDArray[Any] | None) -> NDArray[Any]:
    if found is None:
        raise ValueError(NO_ANSWER)
    return found


def _asked(record: ImageRecord) -> dict[str, Any]:
    sources = [(_absolute(source.path), source.channels) for source in record.sources]
    return {"id": record.id, "sources": sources, "row": record.row}


def _absolute(path: Path) -> str:
    """A decoder may have been started in another folder."""
    return os.path.abspath(path)
