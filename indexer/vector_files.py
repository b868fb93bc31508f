"""Vectors that were made elsewhere: Parquet, npz, DINO4Cells feature files. Reads files; unpickles nothing freely."""

import struct
import tokenize
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from locatlas.errors import InputError, LocatlasError
from locatlas.indexer.labels import get_vocabulary
from locatlas.indexer.npy import NPY_MAGIC
from locatlas.indexer.unpacked import check_parquet, read_npz
from locatlas.models.held import problem_of_archive, problem_of_tensors
from locatlas.models.layouts import shown

__all__ = ["VectorFile", "read_vector_file"]

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


@dataclass(frozen=True, slots=True, eq=False)
class VectorFile:
    """Vectors with what the file says of each.

    Attributes:
        ids: (n,) as in the file, NFC-normalised.
        vectors: (n, d) float32.
        columns: Metadata, one list of (n,) texts (None where unknown) each.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    columns: dict[str, list[str | None]]


def read_vector_file(path: Path, *, label_names: Sequence[str] = ()) -> VectorFile:
    """Vectors, ids and metadata of a file.

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
        found = readers[path.suffix.lower()](path, label_names)
    except LocatlasError:
        raise
    except _DAMAGE as error:
        message = f"{path}: cannot be read ({_reason(error)})"
        raise InputError(message) from error
    _check(path, found)
    return found


def _check(path: Path, found: VectorFile) -> None:
    n = len(found.ids)
    why = None
    if found.vectors.ndim != 2 or found.vectors.shape[0] != n or not n or not found.vectors.shape[1]:
        why = f"{n} ids and vectors of shape {found.vectors.shape}: one row of numbers an id needed"
    elif not (finite := np.isfinite(found.vectors).all(axis=1)).all():
        why = f"vector of {found.ids[int(np.argmin(finite))]!r} is not finite ({int((~finite).sum())} such)"
    elif len(set(found.ids)) != n:
        seen: set[str] = set()
        twice = next(i for i in found.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        why = f"id {twice!r} occurs twice"
    elif "" in found.ids:
        why = f"the id of row {found.ids.index('')} is empty"
    elif bad := next((i for i in found.ids if any(unicodedata.category(c) == "Cc" for c in i)), None):
        why = f"id {bad!r} has control characters"
    else:
        why = next(
            (f"column {name}: {len(v)} values for {n} ids" for name, v in found.columns.items() if len(v) != n), None
        )
    if why:
        message = f"{path}: {why}"
        raise InputError(message)


def _ids(values: Iterable[Any]) -> list[str]:
    return [unicodedata.normalize("NFC", _text(v) or "") for v in values]


def _numbers(values: Any) -> NDArray[np.float32]:
    """Float32 of an array of real numbers; what is too large becomes infinite, which is refused later."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        message = f"vectors of {array.dtype} are no real numbers"
        raise ValueError(message)
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def _parquet(path: Path, label_names: Sequence[str]) -> VectorFile:
    check_parquet(path)
    table = pq.read_table(path)
    if missing := [c for c in ("id", "vector") if c not in table.column_names]:
        message = f"{path}: no column {' or '.join(missing)}; it has {shown(table.column_names)}"
        raise InputError(message)
    vectors = _list_column(path, table["vector"])
    names = [n for n in table.column_names if n not in ("id", "vector") and not n.startswith("__index_level_")]
    columns = {name: [_text(v) for v in table[name].to_pylist()] for name in names}
    return VectorFile(_ids(table["id"].to_pylist()), vectors, columns)


def _list_column(path: Path, column: Any) -> NDArray[np.float32]:
    """(n, d) of a column of lists, of fixed size or not."""
    kind, is_list = column.type, pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    is_list = is_list or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
        message = f"{path}: column vector is {kind}; a list of numbers a row needed"
        raise InputError(message)
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) > 1 or lengths == [None]:
        shown = sorted("null" if n is None else str(n) for n in lengths)
        message = f"{path}: vectors of different lengths or null ({', '.join(shown[:5])})"
        raise InputError(message)
    # nulls inside of a vector become NaN, which is refused as not finite
    flat = pc.list_flatten(column)
    return _numbers(flat.to_numpy()).reshape(len(column), -1) if len(column) else np.empty((0, 0), np.float32)


def _npz(path: Path, label_names: Sequence[str]) -> VectorFile:
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
    vectors = _numbers(arrays.pop("vectors"))
    ids = _ids(arrays.pop("ids").tolist())
    return VectorFile(ids, vectors, {name: [_text(v) for v in array.tolist()] for name, array in arrays.items()})


def _features(path: Path, label_names: Sequence[str]) -> VectorFile:
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
    columns = {"localizations": labels, "cell_line": [_text(v) for v in cell_lines]}
    return VectorFile(_ids(ids), _numbers(features), columns)


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


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="strict")
    if isinstance(value, list | tuple | np.ndarray):
        return ";".join(str(v) for v in value)
    return str(value)
