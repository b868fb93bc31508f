"""Vectors of large tables in one file, sorted by id, that is mapped into memory instead of read. I/O.

Derived and always rebuildable (`indexer.cache_entries`): an entry names the table's manifest by its digest.
"""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.indexer.store.aligned import one_array
from locatlas.indexer.store.arrow_files import mapped_table, write_table
from locatlas.indexer.store.cache_entries import entries_of, has_room, opened_entry, remove_entry, said_by, write_entry
from locatlas.indexer.store.lance_files import manifest_digest
from locatlas.indexer.store.table_reads import TableVectors
from locatlas.indexer.store.tables import Store

__all__ = ["CACHE_FROM_BYTES", "MappedVectors", "mapped_vectors"]

CACHE_FROM_BYTES = 32 << 20
"""Vectors below this are read faster than a file is worth."""

_ROWS_AT_ONCE = 8192
_PARTS = ("vectors.npy", "norms.npy", "rows.arrow")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class MappedVectors:
    """Vectors of a table, and their norms where they are known.

    Attributes:
        held: The vectors; those of a cache are mapped, and what is written to them is not kept.
        norms: Euclidean norms, float64 (n,); None where nobody measured them.
        key: Digest of the manifest of the table's version, where they are mapped from an entry; None otherwise.
    """

    held: TableVectors
    norms: NDArray[np.float64] | None
    key: str | None = None


def mapped_vectors(store: Store, table: str) -> MappedVectors:
    """All vectors of a table, from its cache if that is of this very version; else read, and cached where it pays.

    An atlas that cannot be written, or a disk with little room, has no cache: reading takes longer, nothing else.

    Raises:
        StoreDamagedError: As `Store.read_vectors`.
    """
    folder = entries_of(store.folder, table)
    key = manifest_digest(store.folder, table, store.version(table))
    if key is not None and (there := _open(folder, key, table)) is not None:
        return there
    with _Begun(store, table) as begun:
        held = store.read_vectors(table, begun.place_for)
        key = manifest_digest(store.folder, table, held.version)
        n_bytes = held.vectors.nbytes
        if key is None or n_bytes < CACHE_FROM_BYTES or (begun.array is None and not has_room(store.folder, n_bytes)):
            return MappedVectors(held, None)
        save = partial(_save, array=held.vectors) if begun.array is None else begun.become
        try:
            norms = _write(folder, key, held, save)
        except OSError as error:
            _log.debug("no cache of %s: %s", table, error)
            return MappedVectors(held, None)
        return _open(folder, key, table) or MappedVectors(held, norms)


class _Begun:
    """A file that vectors are read into while no entry is there to be, so that they are never all held in memory.

    Attributes:
        array: The file, mapped; None where the vectors are few, there is no room, or the system cannot keep room free.
    """

    def __init__(self, store: Store, table: str) -> None:
        self.array: np.memmap[Any, np.dtype[np.float32]] | None = None
        self._store, self._table = store, table
        self._folder = entries_of(store.folder, table) / f".{os.getpid()}.{threading.get_ident()}.read"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        remove_entry(self._folder)

    def place_for(self, n: int, dim: int) -> NDArray[np.float32]:
        """For `Store.read_vectors`."""
        n_bytes = 4 * n * dim
        if n_bytes >= CACHE_FROM_BYTES and has_room(self._store.folder, n_bytes):
            try:
                self._folder.mkdir(parents=True)
                path = self._folder / _PARTS[0]
                array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, dim))
                # a disk that fills up while a file with holes is mapped would end the process
                with path.open("r+b") as f:
                    os.posix_fallocate(f.fileno(), 0, path.stat().st_size)
            except (OSError, AttributeError) as error:
                _log.debug("no cache of %s: %s", self._table, error)
            else:
                self.array = array
                return array
        return np.empty((n, dim), dtype=np.float32)

    def become(self, path: Path) -> None:
        """Give the file to an entry."""
        assert self.array is not None
        self.array.flush()
        (self._folder / _PARTS[0]).rename(path)


def _open(folder: Path, key: str, table: str) -> MappedVectors | None:
    if (said := opened_entry(folder / key, table, _PARTS)) is None:
        return None
    try:
        vectors: NDArray[np.float32] = np.load(folder / key / "vectors.npy", mmap_mode="c", allow_pickle=False)
        norms: NDArray[np.float64] = np.load(folder / key / "norms.npy", allow_pickle=False)
        rows = mapped_table(folder / key / "rows.arrow")
        if not len(rows) == len(vectors) == len(norms) == said["n"]:
            return None
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None  # not what was written: `verify` tells, and it is made again
    names, sources = one_array(rows["id"]), one_array(rows["source_digest"])
    return MappedVectors(TableVectors(table, said["version"], names, sources, np.asarray(vectors)), norms, key)


def _write(folder: Path, key: str, held: TableVectors, save: Callable[[Path], None]) -> NDArray[np.float64]:
    """Write an entry and remove those of older versions; the norms."""
    norms = np.empty(len(held.vectors), dtype=np.float64)
    for low in range(0, len(norms), _ROWS_AT_ONCE):
        wide = held.vectors[low : low + _ROWS_AT_ONCE].astype(np.float64)
        norms[low : low + _ROWS_AT_ONCE] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    write_entry(
        folder,
        key,
        {"table": held.table, "version": held.version, "n": len(norms)},
        {
            "vectors.npy": save,
            "norms.npy": partial(_save, array=norms),
            "rows.arrow": partial(write_table, table=pa.table({"id": held.names, "source_digest": held.sources})),
        },
    )
    for entry in folder.glob("[!.]*"):
        if _version_of(entry) < held.version:
            remove_entry(entry)
    return norms


def _version_of(entry: Path) -> int:
    """Of the table that an entry is of; -1 where it does not say."""
    try:
        return int(said_by(entry)["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as f:
        np.save(f, array, allow_pickle=False)
