"""How large files of vectors become when they are read, said before anything is allocated. Reads files."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.files.decoding import unpacked_parquet
from locatlas.indexer.files.limits import limits

__all__ = ["bytes_of_parquet", "check_parquet", "read_npz"]


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz by name; none of Python objects.

    Each array's header is compared with the bytes that the archive has for it before they are unpacked: numpy would
    allocate whatever a header promises.

    Raises:
        InputError: If it is no npz, or expands more than files of numbers do.
        ValueError: If an array is damaged or holds objects.
    """
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        _check(path, sum(entry.file_size for entry in entries))
        arrays = {}
        for entry in entries:
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                if version not in readers:
                    message = f"{path}: {entry.filename!r} is of npy version {version}, which is not read"
                    raise InputError(message)
                shape, _, dtype = readers[version](member)
                promised, there = math.prod(shape) * dtype.itemsize, entry.file_size - member.tell()
                if promised != there and not dtype.hasobject:
                    message = f"{path}: {entry.filename!r} promises {promised} bytes, but has {there}"
                    raise InputError(message)
            with archive.open(entry) as member:
                arrays[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays


def check_parquet(path: Path) -> None:
    """Refuse a Parquet file that expands more than files of numbers and text do; by its footer alone.

    pyarrow ends the process on some damaged footers (found by fuzzing), so they are read in a process of their own.

    Raises:
        InputError: If it does, or its footer cannot be read.
    """
    try:
        unpacked = unpacked_parquet(path)
    except ImageRejectedError as error:
        raise InputError(str(error)) from error
    _check(path, unpacked)


def bytes_of_parquet(path: Path) -> int:
    """How many bytes a Parquet file takes in memory at least, by its footer.

    Raises:
        pyarrow.ArrowException: If it is no Parquet file. On some damaged footers the process ends.
    """
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        n_values = n_bytes = 0
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            columns = [group.column(i) for i in range(group.num_columns)]
            n_values += sum(max(0, column.num_values) for column in columns)
            n_bytes += sum(max(0, column.total_uncompressed_size) for column in columns)
    # a run of equal values takes no space in the file, but its place in memory
    return max(n_bytes, 4 * n_values)


def _check(path: Path, unpacked: int) -> None:
    allowed, size = limits(), path.stat().st_size
    if unpacked > allowed.ratio_free_bytes and unpacked > allowed.ratio * size:
        message = f"{path}: unpacks to {unpacked} bytes from {size}; refused as a decompression bomb"
        raise InputError(message)
