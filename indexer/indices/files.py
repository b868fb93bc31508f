"""Where the files of an index lie, and whether they are what its sidecar says. I/O.

A FAISS index is a file beside its sidecar, `<table>.faiss`, with its ids in `<table>.ids`. An index on disk is a folder
of several files, `<table>.<key>.disk`, under a key of its own: one that is built anew never takes the files away from
who has the one before open, and the sidecar, which names the folder, makes the one the other's successor at once.
"""

import os
import re
from pathlib import Path

from locatlas.indexer.indices.sidecar import Sidecar
from locatlas.indexer.store.file_digest import file_digest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["digests_below", "disk_folder", "disk_folders", "index_paths", "unnamed_files", "wrong_part"]

_DISK = re.compile(r"(emb_(?:fov|cell)_[0-9a-f]{12})\.[0-9a-f]{16}\.disk")


def index_paths(folder: AtlasFolder, table: str) -> tuple[Path, Path, Path]:
    """The FAISS file of a table, the sidecar of its index, and the file of a FAISS file's ids."""
    base = folder.indices / table
    return base.with_suffix(".faiss"), base.with_suffix(".json"), base.with_suffix(".ids")


def disk_folder(folder: AtlasFolder, sidecar: Sidecar) -> Path:
    """The folder of an index on disk.

    Raises:
        ValueError: If the sidecar names none, or one that is not of its table.
    """
    named = _DISK.fullmatch(sidecar.folder)
    if named is None or named[1] != sidecar.table:
        message = f"sidecar names the folder {sidecar.folder!r}"
        raise ValueError(message)
    return folder.indices / sidecar.folder


def disk_folders(folder: AtlasFolder, table: str) -> list[Path]:
    """All folders of indices on disk of a table, the last written last."""
    found = [path for path in folder.indices.glob(f"{table}.*.disk") if _DISK.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def unnamed_files(folder: AtlasFolder, table: str) -> list[Path]:
    """Files and folders of indices of a table that its sidecar is not of: superseded, or left by a kill."""
    faiss_path, json_path, ids_path = index_paths(folder, table)
    try:
        named = Sidecar.from_json(json_path.read_text(encoding="utf-8")).folder
    except (OSError, ValueError, KeyError, TypeError):
        return []  # `verify` tells what to do
    beside = [path for path in (faiss_path, ids_path) if named and path.exists()]
    return beside + [path for path in disk_folders(folder, table) if path.name != named]


def digests_below(folder: Path, *, to_disk: bool = False) -> dict[str, tuple[int, str]]:
    """Size and digest of each file below a folder, by its path there.

    Raises:
        OSError: If one cannot be read.
    """
    files = sorted(Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return {path.relative_to(folder).as_posix(): file_digest(path, to_disk=to_disk) for path in files}


def wrong_part(folder: Path, sidecar: Sidecar, *, full: bool) -> tuple[str | None, int]:
    """A file of an index on disk that is not what was written, None where all are; and the bytes that were read.

    Args:
        folder: Of `disk_folder`.
        sidecar: Which says what they were.
        full: Also read their bytes, not only their sizes.
    """
    read = 0
    for part, size in sidecar.bytes.items():
        try:
            found = file_digest(folder / part) if full else ((folder / part).stat().st_size, sidecar.digests[part])
        except OSError:
            return part, read
        read += found[0] if full else 0
        if found != (size, sidecar.digests[part]):
            return part, read
    return None, read
