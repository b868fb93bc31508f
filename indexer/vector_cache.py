"""Vectors of large tables in one file, sorted by id, that is mapped into memory instead of read. I/O.

An entry is a folder that is written under another name and renamed, so that it is there whole or not at all.

Derived and always rebuildable: an entry names the table's manifest by its digest, and manifests are never written
twice, so an entry is of exactly one state of one table or is not used. Its sizes are checked when it is opened, its
bytes by `locatlas verify`, as those of the table itself.
"""

import json
import logging
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.indexer.aligned import one_array
from locatlas.indexer.faiss_sidecar import blake2b
from locatlas.indexer.file_digest import file_digest
from locatlas.indexer.lance_files import manifest_digest
from locatlas.indexer.layout import AtlasFolder, write_atomically
from locatlas.indexer.store import Store
from locatlas.indexer.table_reads import TableVectors

__all__ = ["CACHE_FROM_BYTES", "MappedVectors", "cached_tables", "damaged_entries", "drop_cache", "mapped_vectors"]

CACHE_FROM_BYTES = 32 << 20
"""Vectors below this are read faster than a file is worth."""

_VERSION = 1
_ROWS_AT_ONCE = 8192
_PARTS = ("vectors.npy", "norms.npy", "rows.arrow")
_SAID = "entry.json"
_ABANDONED_S = 3600

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class MappedVectors:
    """Vectors of a table, and their norms where they are known.

    Attributes:
        held: The vectors; those of a cache are mapped, and what is written to them is not kept.
        norms: Euclidean norms, float64 (n,); None where nobody measured them.
    """

    held: TableVectors
    norms: NDArray[np.float64] | None


def mapped_vectors(store: Store, table: str) -> MappedVectors:
    """All vectors of a table, from its cache if that is of this very version; else read, and cached where it pays.

    An atlas that cannot be written, or a disk with little room, has no cache: reading takes longer, nothing else.

    Raises:
        StoreDamagedError: As `Store.read_vectors`.
    """
    folder = _folder(store.folder, table)
    key = manifest_digest(store.folder, table, store.version(table))
    if key is not None and (there := _open(folder / key, table)) is not None:
        return there
    held = store.read_vectors(table)
    key = manifest_digest(store.folder, table, held.version)
    if key is None or held.vectors.nbytes < CACHE_FROM_BYTES:
        return MappedVectors(held, None)
    if os.access(store.folder.path, os.W_OK) and shutil.disk_usage(store.folder.path).free > 4 * held.vectors.nbytes:
        try:
            norms = _write(folder, key, held)
        except OSError as error:
            _log.debug("no cache of %s: %s", table, error)
        else:
            # mapped from now on: what was read need not be held as well
            return _open(folder / key, table) or MappedVectors(held, norms)
    return MappedVectors(held, None)


def _folder(atlas: AtlasFolder, table: str) -> Path:
    return atlas.path / "cache" / table


def _open(entry: Path, table: str) -> MappedVectors | None:
    try:
        said = _said(entry / _SAID)
        if said["table"] != table or any((entry / part).stat().st_size != said["bytes"][part] for part in _PARTS):
            return None
        vectors: NDArray[np.float32] = np.load(entry / "vectors.npy", mmap_mode="c", allow_pickle=False)
        norms: NDArray[np.float64] = np.load(entry / "norms.npy", allow_pickle=False)
        with pa.memory_map(str(entry / "rows.arrow")) as source:
            rows = pa.ipc.open_file(source).read_all()
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid):
        return None  # absent, or not what was written: `verify` tells, and it is made again
    if not len(rows) == len(vectors) == len(norms) == said["n"]:
        return None
    names, sources = one_array(rows["id"]), one_array(rows["source_digest"])
    return MappedVectors(TableVectors(table, said["version"], names, sources, np.asarray(vectors)), norms)


def _said(path: Path) -> dict[str, Any]:
    """What an entry says of itself.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it does not match its own digest.
    """
    said = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict) or said.pop("sealed", None) != _sealed(said) or said["cache_version"] != _VERSION:
        message = "not a cache entry of this version"
        raise ValueError(message)
    return said


def _sealed(said: dict[str, Any]) -> str:
    return blake2b(json.dumps(said, sort_keys=True).encode())


def _write(folder: Path, key: str, held: TableVectors) -> NDArray[np.float64]:
    """Write an entry and remove those of older versions and what killed writers left; the norms."""
    norms = np.empty(len(held.vectors), dtype=np.float64)
    for low in range(0, len(norms), _ROWS_AT_ONCE):
        wide = held.vectors[low : low + _ROWS_AT_ONCE].astype(np.float64)
        norms[low : low + _ROWS_AT_ONCE] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    rows = pa.table({"id": held.names, "source_digest": held.sources})
    said: dict[str, Any] = {"cache_version": _VERSION, "table": held.table, "version": held.version, "n": len(norms)}
    begun = folder / f".{key}.{os.getpid()}.{threading.get_ident()}"
    begun.mkdir(parents=True)
    try:
        _save(begun / "vectors.npy", held.vectors)
        _save(begun / "norms.npy", norms)
        with pa.OSFile(str(begun / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        of = {part: file_digest(begun / part, to_disk=True) for part in _PARTS}
        said |= {"bytes": {part: size for part, (size, _) in of.items()}}
        said |= {"digests": {part: digest for part, (_, digest) in of.items()}}
        write_atomically(begun / _SAID, json.dumps({**said, "sealed": _sealed(said)}, indent=1).encode())
        _remove(folder / key)  # one that could not be opened
        begun.rename(folder / key)
    except OSError:
        if not (folder / key / _SAID).is_file():  # else another reader was first, with the same bytes
            raise
    finally:
        _remove(begun)
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            if time.time() - entry.stat().st_mtime > _ABANDONED_S:
                _remove(entry)
        elif _version_of(entry) < held.version:
            _remove(entry)
    return norms


def _version_of(entry: Path) -> int:
    """Of the table that an entry is of; -1 where it does not say."""
    try:
        return int(_said(entry / _SAID)["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def _remove(entry: Path) -> None:
    """Delete an entry, out of sight first: who has it mapped keeps what it has, and nobody opens half of it."""
    away = entry.with_name(f".{entry.name.lstrip('.')}.{os.getpid()}.gone")
    try:
        entry.rename(away)
    except FileNotFoundError:
        return
    shutil.rmtree(away, ignore_errors=True)  # what stays is out of sight, and removed later


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as f:
        np.save(f, array, allow_pickle=False)


def cached_tables(atlas: AtlasFolder) -> list[str]:
    """Tables that have a folder in the cache, sorted."""
    return sorted(path.name for path in (atlas.path / "cache").glob("emb_*") if path.is_dir())


def damaged_entries(atlas: AtlasFolder, *, full: bool) -> tuple[dict[str, str], int]:
    """Entries that are not what was written, below the atlas, with the reason; and the bytes that were read.

    Args:
        atlas: The atlas.
        full: Also read all bytes, not only sizes.
    """
    wrong: dict[str, str] = {}
    n_bytes = 0
    for table in cached_tables(atlas):
        for entry in sorted(_folder(atlas, table).glob("[!.]*")):
            try:
                said = _said(entry / _SAID)
                for part in _PARTS:
                    size, digest = said["bytes"][part], said["digests"][part]
                    found = file_digest(entry / part) if full else ((entry / part).stat().st_size, digest)
                    n_bytes += found[0] if full else 0
                    if found != (size, digest):
                        message = f"{part} is not what was written"
                        raise ValueError(message)
            except (OSError, ValueError, KeyError, TypeError) as error:
                if entry.exists():  # else it was replaced by that of a newer version just now
                    wrong[entry.relative_to(atlas.path).as_posix()] = str(error)
    return wrong, n_bytes


def drop_cache(atlas: AtlasFolder, table: str) -> int:
    """Delete the cache of a table; bytes that were freed. Readers that have it mapped keep what they have."""
    folder = _folder(atlas, table)
    freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    _remove(folder)
    return freed
