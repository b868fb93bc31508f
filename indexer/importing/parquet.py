"""Vectors and metadata of a Parquet file; the vectors are read some thousand at a time. Reads files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.files.unpacked import check_parquet
from locatlas.indexer.importing.blocks import VectorRows, in_blocks
from locatlas.indexer.importing.text_columns import texts
from locatlas.models.layouts import shown

__all__ = ["numbers", "read_parquet"]

_READ_BYTES = 4 << 20
"""Read at once: pyarrow by itself takes in all bytes of a column of a row group first, which may be those of a file."""


def read_parquet(path: Path) -> VectorRows:
    """Ids and metadata of a file, and its vectors, which are read when they are asked for.

    Raises:
        InputError: If a column is missing, or vectors are no lists of numbers of one length.
        pyarrow.ArrowException: If the file is damaged.
    """
    check_parquet(path)
    stat = _stat(path)  # before anything is read: names and vectors are of one file
    with _open(path) as file:
        schema = file.schema_arrow
        if missing := [c for c in ("id", "vector") if c not in schema.names]:
            message = f"{path}: no column {' or '.join(missing)}; it has {shown(schema.names)}"
            raise InputError(message)
        kind, n = schema.field("vector").type, file.metadata.num_rows
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not is_list or not (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
            message = f"{path}: column vector is {kind}; a list of numbers a row needed"
            raise InputError(message)
        told = [name for name in schema.names if name not in ("id", "vector") and not name.startswith("__index_level_")]
        columns = {name: texts(file.read(columns=[name])[name]) for name in told}
        names = pc.fill_null(texts(file.read(columns=["id"])["id"]), "")

    def parts(rows: int) -> Iterator[NDArray[np.float32]]:
        dim = None
        try:
            with _open(path) as file:
                _check_unchanged(path, stat)  # here, too: it may have no rows now
                for batch in file.iter_batches(rows, columns=["vector"]):
                    _check_unchanged(path, stat)
                    part = _list_column(path, batch.column("vector"), dim)
                    dim = part.shape[1]
                    yield part
        except (OSError, pa.ArrowException) as error:
            _check_unchanged(path, stat)
            message = f"{path}: cannot be read ({next(iter(str(error).splitlines()), type(error).__name__)[:200]})"
            raise InputError(message) from error

    first = next(parts(1), np.empty((0, 0), np.float32))
    return VectorRows(names, (n, first.shape[1]), columns, lambda rows: in_blocks(parts(rows), rows))


def _open(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False)


def _stat(path: Path) -> tuple[int, int, int] | None:
    """What is another once the file was written or replaced; None where it is gone."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _check_unchanged(path: Path, stat: tuple[int, int, int] | None) -> None:
    if _stat(path) != stat:
        message = f"{path}: was written while it was read; what was imported stays, import it again"
        raise InputError(message)


def _list_column(path: Path, column: Any, dim: int | None) -> NDArray[np.float32]:
    """(n, d) of a column of lists, of fixed size or not; d as before, where there were some before."""
    lengths = set(pc.unique(pc.list_value_length(column)).to_pylist()) | ({dim} if dim is not None else set())
    if len(lengths) > 1 or lengths == {None}:
        said = sorted("null" if n is None else str(n) for n in lengths)
        message = f"{path}: vectors of different lengths or null ({', '.join(said[:5])})"
        raise InputError(message)
    # nulls inside of a vector become NaN, which is refused as not finite
    return numbers(pc.list_flatten(column).to_numpy(zero_copy_only=False)).reshape(len(column), -1)


def numbers(values: Any) -> NDArray[np.float32]:
    """Float32 of an array of real numbers; what is too large becomes infinite, which is refused later.

    Raises:
        ValueError: If they are no real numbers.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        message = f"vectors of {array.dtype} are no real numbers"
        raise ValueError(message)
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)
