"""Files that are written whole or not at all, and files and folders that are deleted. I/O."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

__all__ = ["remove", "write_atomically"]


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write to a temporary name beside `path`, flush to disk, rename: a reader sees the old or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)  # a full disk must not be left fuller; Ctrl-C leaves nothing behind
        if isinstance(error, OSError) and error.filename is None:  # as when the disk is full
            error.filename = str(path)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove(paths: Iterable[Path]) -> None:
    """Delete files and folders; those that are gone already are passed over.

    Raises:
        OSError: If one cannot be deleted.
    """
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
