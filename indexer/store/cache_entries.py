"""Entries of `cache/`: derived files in a folder of their own, which is there whole or not at all. I/O.

An entry is written under another name and renamed. It stands below the table that it was made of, under a key that no
other state of that table has (digests of manifests, which are never written twice), so that it is of exactly one state
or is not used. Its sizes are checked when it is opened, its bytes by `locatlas verify`, as those of the table itself.
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from locatlas.indexer.indices.sidecar import blake2b
from locatlas.indexer.store.atomic import write_atomically
from locatlas.indexer.store.file_digest import file_digest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = [
    "abandoned_caches",
    "cached_tables",
    "damaged_entries",
    "drop_cache",
    "entries_of",
    "has_room",
    "opened_entry",
    "remove_entry",
    "said_by",
    "write_entry",
]

VERSION = 1
_SAID = "entry.json"
_ABANDONED_S = 3600


def entries_of(atlas: AtlasFolder, table: str) -> Path:
    """Where the entries of a table stand; the folder may be absent."""
    return atlas.path / "cache" / table


def has_room(atlas: AtlasFolder, n_bytes: int) -> bool:
    """Whether an entry of so many bytes can be written, and leaves the disk with some."""
    return os.access(atlas.path, os.W_OK) and shutil.disk_usage(atlas.path).free > 4 * n_bytes


def said_by(entry: Path) -> dict[str, Any]:
    """What an entry says of itself.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it does not match its own digest.
    """
    said = json.loads((entry / _SAID).read_text(encoding="utf-8"))
    if not isinstance(said, dict) or said.pop("sealed", None) != _sealed(said) or said["cache_version"] != VERSION:
        message = "not a cache entry of this version"
        raise ValueError(message)
    return said


def opened_entry(entry: Path, table: str, parts: Sequence[str]) -> dict[str, Any] | None:
    """What an entry says of itself, if it is of the table and its parts have the sizes that they had; None otherwise.

    What is absent or not what was written is not used: `verify` tells, and it is made again.
    """
    try:
        said = said_by(entry)
        fits = said["table"] == table and sorted(said["bytes"]) == sorted(parts)
        fits = fits and all((entry / part).stat().st_size == size for part, size in said["bytes"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if fits else None


def _sealed(said: dict[str, Any]) -> str:
    return blake2b(json.dumps(said, sort_keys=True).encode())


def write_entry(folder: Path, key: str, said: Mapping[str, Any], parts: Mapping[str, Callable[[Path], None]]) -> None:
    """Write an entry, and remove what killed writers left here.

    Args:
        folder: Of `entries_of`.
        key: Its name, which no other state of the table has.
        said: What it says of itself: table, version and what its reader needs.
        parts: By file name what writes the file.

    Raises:
        OSError: If it cannot be written, unless another reader wrote the same.
    """
    begun = folder / f".{key}.{os.getpid()}.{threading.get_ident()}"
    begun.mkdir(parents=True)
    try:
        for part, write in parts.items():
            write(begun / part)
        of = {part: file_digest(begun / part, to_disk=True) for part in parts}
        whole: dict[str, Any] = {"cache_version": VERSION, **said}
        whole |= {"bytes": {part: size for part, (size, _) in of.items()}}
        whole |= {"digests": {part: digest for part, (_, digest) in of.items()}}
        write_atomically(begun / _SAID, json.dumps({**whole, "sealed": _sealed(whole)}, indent=1).encode())
        remove_entry(folder / key)  # one that could not be opened
        begun.rename(folder / key)
    except OSError:
        if not (folder / key / _SAID).is_file():  # else another reader was first, with the same bytes
            raise
    finally:
        remove_entry(begun)
    with suppress(OSError):  # of another user, or removed by another reader just now: the entry is written
        for entry in folder.glob(".*"):
            if time.time() - entry.stat().st_mtime > _ABANDONED_S:
                remove_entry(entry)


def remove_entry(entry: Path) -> int:
    """Delete an entry, out of sight first: who has it mapped keeps what it has, and nobody opens half of it.

    Returns:
        Its bytes; 0 where it is not there.
    """
    away = entry.with_name(f".{entry.name.lstrip('.')}.{os.getpid()}.{time.monotonic_ns()}.gone")
    try:
        entry.rename(away)
    except FileNotFoundError:
        return 0
    n_bytes = 0
    for folder, _, names in os.walk(away):
        for name in names:
            with suppress(FileNotFoundError):  # a reader was removing it already
                n_bytes += (Path(folder) / name).stat().st_size
    shutil.rmtree(away, ignore_errors=True)  # what stays is out of sight, and removed later
    return n_bytes


def cached_tables(atlas: AtlasFolder) -> list[str]:
    """Tables that have a folder in the cache, sorted."""
    folders = [path for path in (atlas.path / "cache").glob("[!.]*") if path.is_dir()]
    return sorted(path.name for path in folders if path != atlas.decoded)


def abandoned_caches(atlas: AtlasFolder) -> list[Path]:
    """Caches of tables whose deletion was killed: out of sight, but not deleted."""
    return sorted((atlas.path / "cache").glob(".*.gone"))


def damaged_entries(atlas: AtlasFolder, *, full: bool) -> tuple[dict[str, str], int]:
    """Entries that are not what was written, below the atlas, with the reason; and the bytes that were read.

    Args:
        atlas: The atlas.
        full: Also read all bytes, not only sizes.
    """
    wrong: dict[str, str] = {}
    n_bytes = 0
    for table in cached_tables(atlas):
        for entry in sorted(entries_of(atlas, table).glob("[!.]*")):
            try:
                said = said_by(entry)
                for part, size in said["bytes"].items():
                    digest = said["digests"][part]
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
    return remove_entry(entries_of(atlas, table))
