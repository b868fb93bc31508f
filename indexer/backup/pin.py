"""One consistent state of an atlas that others write to meanwhile, and the files it consists of. Reads only.

No lock is taken: a run that indexes for hours holds it for hours, and whoever may only read can make a backup too. The
versions of all tables are looked at twice with all that can change read in between; if nothing moved, they were there
together at one time, because versions only grow. Data files of a version never change: they can be copied later.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from locatlas.errors import AtlasLockedError, InputError, StoreDamagedError
from locatlas.indexer.store.lance_files import manifest_version, newest_manifest, open_table, reading
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["MovedError", "Needed", "Pin", "files_of_table", "pin"]

SMALL_BYTES = 1 << 20
"""Files up to this size are read while nothing moves; larger ones are copied later, if they are the same then."""

WAIT_S = 60.0
"""For a moment in which nothing moves."""

_DERIVED = ("indices", "cache")


class MovedError(Exception):
    """The atlas went on, and files of the state that was to be copied are gone or others: take a newer state."""


@dataclass(frozen=True, slots=True)
class Needed:
    """A file that a state needs.

    Attributes:
        path: Below the atlas, with forward slashes.
        size: Bytes it must have; None where nothing says so.
        unique: Whether its name is never given to other bytes.
    """

    path: str
    size: int | None
    unique: bool


@dataclass(frozen=True, slots=True)
class Pin:
    """A state of an atlas.

    Attributes:
        manifests: Name of the newest manifest of each table.
        small: Bytes of small files that are not of tables, by path below the atlas.
        large: Of the other files, what tells whether they are still the same: size, time and number.
    """

    manifests: dict[str, str]
    small: dict[str, bytes]
    large: dict[str, tuple[int, int, int]]


def pin(folder: AtlasFolder, *, with_indices: bool) -> Pin:
    """A state in which the atlas is.

    All that is in the folder belongs to it, except what is derived (`indices`, `cache`) and names that begin with a
    dot: locks, temporary files, tables that are being deleted.

    Args:
        folder: The atlas.
        with_indices: Whether FAISS files belong to it.

    Raises:
        AtlasLockedError: If something moved at every look.
        StoreDamagedError: If a table has data and no manifest.
        InputError: If a folder in it is a link.
        OSError: If something cannot be read.
    """
    until = time.monotonic() + WAIT_S
    while True:
        manifests, others = _manifests(folder), _others(folder, with_indices=with_indices)
        # digests are read with the versions whose files they are of, however many they are
        small = {
            path: s
            for path, s in others.items()
            if path.startswith("digests/") or (s[0] <= SMALL_BYTES and not path.startswith("indices/"))
        }
        try:
            held = {path: (folder.path / path).read_bytes() for path in small}
        except FileNotFoundError:
            held = None
        still = _manifests(folder) == manifests and _others(folder, with_indices=with_indices) == others
        if held is not None and still:
            return Pin(manifests, held, {p: s for p, s in others.items() if p not in small})
        if time.monotonic() > until:
            message = f"{folder.path}: written to without a pause; make the backup again when less is going on"
            raise AtlasLockedError(message)
        time.sleep(0.005)


def files_of_table(folder: AtlasFolder, table: str, manifest: str) -> tuple[int, int, list[Needed]]:
    """Version, rows and files of a table at a version.

    Args:
        folder: The atlas.
        table: Name of the table.
        manifest: Name of the version's manifest.

    Raises:
        MovedError: If the version is gone because there is a newer one.
        StoreDamagedError: If it cannot be opened though it is the newest.
    """
    below, version = f"db/{table}.lance", manifest_version(manifest)
    try:
        opened = open_table(folder, table, version)
        with reading(folder.path / below):
            rows = int(opened.dataset.count_rows())
    except StoreDamagedError as error:
        if newest_manifest(folder.path / below) != manifest:
            raise MovedError from error
        raise
    # how the version was made, and indices of columns: locatlas makes none of these
    others = (("_transactions", f"{opened.version - 1}-*.txn"), ("_indices", "*/*"))
    found = [path for part, pattern in others for path in (folder.path / below).glob(f"{part}/{pattern}")]
    names = [*sorted(opened.files), *(path.relative_to(folder.path).as_posix() for path in found)]
    files = [Needed(name, opened.sizes.get(name), unique="/_versions/" not in name) for name in names]
    return opened.version, rows, files


def _manifests(folder: AtlasFolder) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.db.glob("*.lance")):
        if path.name.startswith("."):
            continue
        newest = newest_manifest(path)
        if newest is not None:
            found[path.stem] = newest
        elif any(path.glob("data/*.lance")) and newest_manifest(path) is None:
            message = f"{path}: has data but no manifest; nothing was copied"
            raise StoreDamagedError(message)
    return found


def _others(folder: AtlasFolder, *, with_indices: bool) -> dict[str, tuple[int, int, int]]:
    """Size, time and number of files that are not of tables, by path below the atlas."""
    found: dict[str, tuple[int, int, int]] = {}
    for path in _walk(folder.path, {"db", *(name for name in _DERIVED if not (with_indices and name == "indices"))}):
        try:
            s = path.stat()
        except FileNotFoundError:
            continue
        found[path.relative_to(folder.path).as_posix()] = (s.st_size, s.st_mtime_ns, s.st_ino)
    return found


def _walk(top: Path, without: set[str]) -> Iterator[Path]:
    """Files below a folder whose names, and those of their folders, do not begin with a dot."""
    for entry in sorted(os.scandir(top), key=lambda e: e.name):
        if entry.name.startswith(".") or entry.name in without:
            continue
        if entry.is_symlink() and entry.is_dir():
            message = f"{entry.path}: a link to a folder, which a backup does not follow; nothing was copied"
            raise InputError(message)
        if entry.is_dir():
            yield from _walk(Path(entry.path), set())
        elif entry.is_file():
            yield Path(entry.path)
