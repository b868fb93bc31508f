"""Vectors that were made elsewhere: Parquet, npz, DINO4Cells feature files. Reads files; unpickles nothing freely."""

import struct
import tokenize
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import InputError, LocatlasError
from locatlas.indexer.files.npy import NPY_MAGIC
from locatlas.indexer.files.unpacked import read_npz
from locatlas.indexer.importing.blocks import VectorRows, check_rows_of_file
from locatlas.indexer.importing.parquet import numbers, read_parquet
from locatlas.indexer.importing.text_columns import text_of
from locatlas.indexer.labels import get_vocabulary
from locatlas.models.held import problem_of_archive, problem_of_tensors
from locatlas.models.layouts import shown

__all__ = ["read_vector_file"]

# The functions that unpickle numpy's arrays and numbers; their module is private, and numpy 1 called it otherwise.
_ARRAY, _NUMBER = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
# What numpy, zipfile and Arrow raise on damaged or unfitting files; zipfile's own error is a plain Exception.
_DAMAGE = (
    OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, ArithmeticError, AssertionError,
    AttributeError, MemoryError, SyntaxError, tokenize.TokenError, struct.error, zipfile.BadZipFile, zlib.error,
    pa.ArrowException,
)  # fmt: skip
_DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "U1")
_ALLOWED: list[Any] = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(code)) for code in _DTYPES),
    *((_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_NUMBER, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def read_vector_file(path: Path, *, label_names: Sequence[str] = ()) -> VectorRows:
    """Vectors, ids and metadata of a file; those of Parquet are read through once here, to be checked, and not kept.

    Args:
        path: .parquet with a `vector` and an `id` column; .npz with `vectors`, `ids` and one array a metadata column;
            .pth of DINO4Cells: [features, label multi-hot, cell line, id].
        label_names: Names of a .pth's label columns.

    Raises:
        InputError: If the file cannot be read safely, or ids and vectors do not fit each other.
    """
    if not path.is_file():
        message = f"{path}: no such file"
        raise InputError(message)
    readers = {".parquet": _parquet, ".npz": _npz, ".pth": _features, ".pt": _features}
    if path.suffix.lower() not in readers:
        message = f"{path}: {path.suffix or 'no suffix'}; vectors are read from {', '.join(sorted(readers))}"
        raise InputError(message)
    try:
        found = _with_names_in_nfc(path, readers[path.suffix.lower()](path, label_names))
        check_rows_of_file(path, found)
    except LocatlasError:
        raise
    except _DAMAGE as error:
        message = f"{path}: cannot be read ({_reason(error)})"
        raise InputError(message) from error
    return found


def _with_names_in_nfc(path: Path, found: VectorRows) -> VectorRows:
    """The same with its columns named as filters and groups are asked for."""
    columns: dict[str, pa.Array] = {}
    for spelled, column in found.columns.items():
        name = unicodedata.normalize("NFC", spelled)
        if name in columns:
            message = f"{path}: column {name!r} is there in two spellings, which are one text in NFC"
            raise InputError(message)
        columns[name] = column
    return replace(found, columns=columns)


def _held(ids: Iterable[Any], vectors: NDArray[np.float32], columns: Mapping[str, Iterable[Any]]) -> VectorRows:
    """Rows of vectors that are in memory."""

    def blocks(rows: int) -> Iterator[NDArray[np.float32]]:
        return (vectors[low : low + rows] for low in range(0, len(vectors), rows))

    names = pa.array([text_of(value) or "" for value in ids], pa.string())
    told = {name: pa.array([text_of(value) for value in values], pa.string()) for name, values in columns.items()}
    return VectorRows(pc.utf8_normalize(names, form="NFC"), vectors.shape, told, blocks)


def _parquet(path: Path, label_names: Sequence[str]) -> VectorRows:
    return read_parquet(path)


def _npz(path: Path, label_names: Sequence[str]) -> VectorRows:
    with path.open("rb") as stream:
        if stream.read(len(NPY_MAGIC)) == NPY_MAGIC:
            message = f"{path}: a single array, not an npz with ids and vectors"
            raise InputError(message)
    arrays = read_npz(path)
    if missing := [c for c in ("ids", "vectors") if c not in arrays]:
        message = f"{path}: no array {' or '.join(missing)}; it has {shown(arrays)}"
        raise InputError(message)
    if scalar := next((name for name, array in arrays.items() if array.ndim == 0), None):
        message = f"{path}: array {scalar} is a single value; one a vector needed"
        raise InputError(message)
    vectors, ids = numbers(arrays.pop("vectors")), arrays.pop("ids").tolist()
    return _held(ids, vectors, {name: array.tolist() for name, array in arrays.items()})


def _features(path: Path, label_names: Sequence[str]) -> VectorRows:
    held = _safe_load(path)
    if problem := problem_of_tensors(held, path.stat().st_size):
        raise InputError(f"{path}: {problem}")
    if not isinstance(held, list | tuple) or len(held) < 4:
        message = f"{path}: not a DINO4Cells feature file: a list of features, labels, cell lines and ids expected"
        raise InputError(message)
    features, hots, cell_lines, ids = (_plain(item) for item in held[:4])
    # the data set sorted its label columns, so they are alphabetical and not in Kaggle's order
    names = list(label_names) or sorted(get_vocabulary("kaggle-2018").labels)
    labels: list[str | None] = []
    for row in hots:
        hot = np.asarray(row).reshape(-1)
        if len(hot) != len(names):
            message = f"{path}: {len(hot)} label columns for {len(names)} class names; give theirs with --labels"
            raise InputError(message)
        labels.append(";".join(name for name, on in zip(names, hot, strict=True) if on > 0))
    return _held(ids, numbers(features), {"localizations": labels, "cell_line": cell_lines})


def _plain(value: Any) -> Any:
    """Arrays of tensors, and lists of what stands in them, without torch."""
    import torch

    if isinstance(value, torch.Tensor):
        # numpy knows no bfloat16, and one number alone is a text or a label
        array = value.detach().cpu()
        array = array.float() if array.is_floating_point() else array
        return array.numpy() if array.ndim else array.item()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _safe_load(path: Path) -> Any:
    """Tensors, arrays, lists, numbers and text of a torch file; any other object is refused without being run."""
    import pickle

    import torch

    if problem := problem_of_archive(path):
        raise InputError(f"{path}: {problem}")
    try:
        with torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's doubts about pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error) and "Unsupported" not in str(error):
            message = f"{path}: not a complete torch file ({_reason(error)})"
        else:
            message = (
                f"{path}: holds objects beside tensors, lists and text (a fifth item that is a DataFrame, perhaps); "
                f"refused without running it. Save the first four items alone, or write Parquet"
            )
        raise InputError(message) from error
    # damaged pickles fail in whatever the next opcode happened to need
    except _DAMAGE as error:
        message = f"{path}: not a complete torch file ({_reason(error)})"
        raise InputError(message) from error


def _reason(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
