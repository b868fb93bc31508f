"""What a Lance table consists of now, read without trusting its files. I/O."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locatlas.errors import StoreDamagedError
from locatlas.indexer.store.file_digest import file_digest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = [
    "Opened",
    "ids_of_fragments",
    "latest_manifest",
    "manifest_version",
    "manifests",
    "newest_manifest",
    "open_before_newest",
    "open_table",
    "read_hint",
    "reading",
    "table_state",
]

_V2 = (1 << 64) - 1
"""Names of manifests count down from here, so that the newest comes first."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """One version of a table.

    Attributes:
        name: Of the table.
        dataset: Lance's handle of this version.
        version: Its number.
        files: Path below the atlas of its manifest, data files and deletion files.
        fragments: Data file to the number of the fragment that it is of.
        sizes: Data file to its bytes, where the manifest tells them.
    """

    name: str
    dataset: Any
    version: int
    files: frozenset[str]
    fragments: dict[str, int]
    sizes: dict[str, int]


@contextmanager
def reading(path: Path, done: str = "read") -> Iterator[None]:
    """Whatever Lance raises on damaged files, its panics included, as one error of ours that says what failed."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, ArithmeticError) as error:
        message = f"{path}: cannot be {done} ({(str(error) or type(error).__name__).splitlines()[0][:200]})"
        raise StoreDamagedError(message) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust, which no handler of Exception sees
            raise
        message = f"{path}: cannot be {done} (Lance panicked: {(str(error) or '?').splitlines()[0][:160]})"
        raise StoreDamagedError(message) from error


def manifest_version(name: str) -> int | None:
    """The version that the file name of a manifest stands for."""
    stem = name.removesuffix(".manifest")
    if not stem.isdecimal():
        return None
    return _V2 - int(stem) if len(stem) == 20 else int(stem)


def manifests(folder: AtlasFolder, table: str) -> dict[int, str]:
    """Path below the atlas of each version's manifest."""
    below = f"db/{table}.lance/_versions"
    found = {manifest_version(p.name): f"{below}/{p.name}" for p in (folder.path / below).glob("*.manifest")}
    return {version: path for version, path in found.items() if version is not None}


def manifest_digest(folder: AtlasFolder, table: str, version: int) -> str | None:
    """blake2b-128 (hex) of the manifest of a version, which no other state of any table has; None where it is gone."""
    try:
        return file_digest(folder.path / manifests(folder, table)[version])[1]
    except (KeyError, FileNotFoundError):
        return None


def latest_manifest(folder: AtlasFolder, table: str) -> str | None:
    """Path below the atlas of the newest manifest; None where there is none."""
    name = newest_manifest(folder.db / f"{table}.lance")
    return None if name is None else f"db/{table}.lance/_versions/{name}"


def newest_manifest(path: Path) -> str | None:
    """Name of the manifest of the newest version of the table in this folder; None where there is none."""
    found = {manifest_version(p.name): p.name for p in (path / "_versions").glob("*.manifest")}
    known = {version: name for version, name in found.items() if version is not None}
    return known[max(known)] if known else None


def table_state(folder: AtlasFolder, table: str) -> tuple[int, int, int, int] | None:
    """What is another after every commit, and after a table was put in the place of another with the same version.

    Returns:
        Version, inode, time of change (ns) and bytes of the newest manifest, which is never written twice; None where
        there is none.

    Raises:
        StoreDamagedError: If it cannot be looked at.
    """
    for _ in range(3):
        if (name := newest_manifest(folder.db / f"{table}.lance")) is None:
            return None
        version = manifest_version(name)
        assert version is not None
        path = folder.db / f"{table}.lance" / "_versions" / name
        try:
            said = path.stat()
        except FileNotFoundError:  # the table was replaced just now
            continue
        except OSError as error:
            message = f"{path}: cannot be looked at ({error.strerror or error})"
            raise StoreDamagedError(message) from error
        return version, said.st_ino, said.st_mtime_ns, said.st_size
    message = f"{folder.db / table}.lance: its manifests come and go; look again"
    raise StoreDamagedError(message)


def read_hint(folder: AtlasFolder, table: str) -> int | None:
    """The version that Lance's hint names; None where it is not what Lance writes.

    Raises:
        FileNotFoundError: If there is none.
    """
    data = (folder.path / "db" / f"{table}.lance" / "_versions" / "latest_version_hint.json").read_bytes()
    try:
        version = json.loads(data)["version"]
    except (ValueError, KeyError, TypeError):
        return None
    return version if data == json.dumps({"version": version}, separators=(",", ":")).encode() else None


def open_table(folder: AtlasFolder, table: str, version: int | None = None) -> Opened:
    """A version of a table, the newest by default.

    Raises:
        StoreDamagedError: If it cannot be opened.
    """
    import lance

    below = f"db/{table}.lance"
    path = folder.path / below
    with reading(path, "opened"):
        dataset = lance.dataset(str(path), version=version)
        opened = int(dataset.version)
        manifest = manifests(folder, table).get(opened)
        files, fragments, sizes = {manifest} if manifest else set(), {}, {}
        for fragment in dataset.get_fragments():
            for data in fragment.data_files():
                name = f"{below}/data/{data.path}"
                files.add(name)
                fragments[name] = int(fragment.fragment_id)
                if data.file_size_bytes:
                    sizes[name] = int(data.file_size_bytes)
            if (deletions := fragment.deletion_file()) is not None:
                files.add(f"{below}/{deletions}")
    return Opened(table, dataset, opened, frozenset(files), fragments, sizes)


def open_before_newest(folder: AtlasFolder, table: str) -> Opened | None:
    """The version before the newest; None where there is none that can be opened."""
    versions = sorted(manifests(folder, table))
    try:
        return open_table(folder, table, versions[-2]) if len(versions) > 1 else None
    except StoreDamagedError:
        return None


def ids_of_fragments(opened: Opened, without: Collection[int]) -> set[str]:
    """Ids in the fragments of a version but these.

    Raises:
        StoreDamagedError: If they cannot be read.
    """
    found: set[str] = set()
    with reading(opened.dataset.uri):
        for fragment in opened.dataset.get_fragments():
            if fragment.fragment_id not in without:
                found.update(fragment.to_table(columns=["id"])["id"].drop_null().to_pylist())
    return found
