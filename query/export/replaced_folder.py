"""A folder that takes its place whole or not at all, also where another stands there. I/O."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from locatlas.indexer.store.file_digest import sync_folder

__all__ = ["replaced_folder"]


@contextmanager
def replaced_folder(path: Path, check: Callable[[], None], *, word: str = "") -> Iterator[Path]:
    """A new folder to write to, which takes the place of `path` when the block ends without an error.

    Args:
        path: Where it is to be; what is there stays until then, and where anything fails.
        check: Refuses what may not be replaced; called once more before the folder takes its place.
        word: Part of the names that the folders have meanwhile.
    """
    temporary, before = (path.with_name(f".{path.name}.{os.getpid()}.{word}{end}") for end in ("tmp", "old"))
    shutil.rmtree(temporary, ignore_errors=True)
    if before.exists() and not path.exists():
        before.rename(path)  # a killed process of the same number had not put it back
    shutil.rmtree(before, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        for at, _, names in os.walk(temporary):
            for name in names:
                with (Path(at) / name).open("rb") as f:
                    os.fsync(f.fileno())
            sync_folder(Path(at))
        check()
        if path.exists():
            path.rename(before)
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if before.exists() and not path.exists():
            before.rename(path)
        shutil.rmtree(before, ignore_errors=True)
