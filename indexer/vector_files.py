"""Read vectors that were made elsewhere: Parquet, npz, DINO4Cells feature files. Reads files, unpickles nothing freely."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from locatlas.errors import InputError, LocatlasError

__all__ = ["VectorFile", "read_vector_file"]


@dataclass(frozen=True, slots=True, eq=False)
class VectorFile:
    """Vectors with what the file says of each.

    Attributes:
        ids: (n,) as in the file.
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
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        message = f"{path}: cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
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
    elif bad := next((i for i in found.ids if not i or not i.isprintable()), None):
        why = f"id {bad!r} has control characters"
    elif "" in found.ids:
        why = "an id is empty"
    else:
        why = next((f"{name}: {len(v)} values for {n} ids" for name, v in found.columns.items() if len(v) != n), None)
    if why:
        message = f"{path}: {why}"
        raise InputError(message)


def _parquet(path: Path, label_names: Sequence[str]) -> VectorFile:
    table = pq.read_table(path)
    if missing := [c for c in ("id", "vector") if c not in table.column_names]:
        message = f"{path}: no column {' or '.join(missing)}; it has {', '.join(table.column_names)}"
        raise InputError(message)
    column = table["vector"].combine_chunks()
    lengths = {len(v) if v is not None else -1 for v in column.to_pylist()} if not _fixed(column) else {0}
    if len(lengths) > 1 or -1 in lengths:
        message = f"{path}: vectors of different lengths or null"
        raise InputError(message)
    flat = column.flatten().to_numpy(zero_copy_only=False)
    vectors = np.asarray(flat, dtype=np.float32).reshape(len(table), -1) if len(table) else np.empty((0, 0), np.float32)
    ids = [_text(v) or "" for v in table["id"].to_pylist()]
    columns = {name: [_text(v) for v in table[name].to_pylist()] for name in table.column_names}
    return VectorFile(ids, vectors, {k: v for k, v in columns.items() if k not in ("id", "vector")})


def _fixed(column: Any) -> bool:
    return pa.types.is_fixed_size_list(column.type) and column.null_count == 0


def _npz(path: Path, label_names: Sequence[str]) -> VectorFile:
    with np.load(path, allow_pickle=False) as held:
        if missing := [c for c in ("ids", "vectors") if c not in held.files]:
            message = f"{path}: no array {' or '.join(missing)}; it has {', '.join(held.files)}"
            raise InputError(message)
        vectors = np.asarray(held["vectors"], dtype=np.float32)
        names = [name for name in held.files if name != "vectors"]
        columns = {name: [_text(v) for v in held[name].tolist()] for name in names}
    ids = [i or "" for i in columns.pop("ids")]
    return VectorFile(ids, vectors, columns)


def _features(path: Path, label_names: Sequence[str]) -> VectorFile:
    from locatlas.indexer.labels import KAGGLE_2018

    held = _safe_load(path)
    if not isinstance(held, list | tuple) or len(held) < 4:
        message = f"{path}: not a DINO4Cells feature file: a list of features, labels, cell lines and ids expected"
        raise InputError(message)
    vectors = np.asarray(held[0], dtype=np.float32)
    ids = [str(v) for v in held[3]]
    # the data set sorted its label columns, so they are alphabetical and not in Kaggle's order
    names = list(label_names) or sorted(KAGGLE_2018)
    labels: list[str | None] = []
    for row in held[1]:
        hot = np.asarray(row).reshape(-1)
        if len(hot) != len(names):
            message = f"{path}: {len(hot)} label columns for {len(names)} class names; give theirs with --labels"
            raise InputError(message)
        labels.append(";".join(name for name, on in zip(names, hot, strict=True) if on))
    return VectorFile(ids, vectors, {"localizations": labels, "cell_line": [_text(v) for v in held[2]]})


def _safe_load(path: Path) -> Any:
    """Tensors, arrays, lists, numbers and text of a torch file; any other object is refused without being run."""
    import pickle

    import torch

    multiarray = np._core.multiarray
    allowed: list[Any] = [
        multiarray._reconstruct,
        (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # the name of numpy 1
        multiarray.scalar,
        (multiarray.scalar, "numpy.core.multiarray.scalar"),
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "u1", "?")),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = (
            f"{path}: holds objects beside tensors, lists and text (a fifth item that is a DataFrame, perhaps); refused "
            f"without running it. Save the first four items alone, or write Parquet"
        )
        raise InputError(message) from error
    except (RuntimeError, EOFError) as error:
        message = f"{path}: not a complete torch file ({str(error).splitlines()[0]})"
        raise InputError(message) from error


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="strict")
    if isinstance(value, list | tuple):
        return ";".join(str(v) for v in value)
    return str(value)
