"""Where an export goes: refused if it is there, written under a temporary name, renamed when it is whole. I/O."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from locatlas.errors import InputError
from locatlas.indexer.store.file_digest import sync_folder
from locatlas.query.export.replaced_folder import replaced_folder

__all__ = ["check_target", "whole_file", "whole_folder"]


def check_target(path: Path, *, overwrite: bool, folder_of: Sequence[str] = ()) -> None:
    """See that a path may be written, before anything is computed.

    Args:
        path: The file, or folder, to be.
        overwrite: Whether one that is there is replaced.
        folder_of: Names of the files of a folder to be; empty for a file.

    Raises:
        InputError: If it is there and not to be replaced, is of the other kind, is a folder with other files in it, or
            there is no folder to write it in.
    """
    if not path.parent.is_dir():
        message = f"{path}: there is no folder {path.parent} to write it in"
        raise InputError(message)
    if not os.path.lexists(path):
        return
    if path.is_dir() != bool(folder_of):
        message = f"{path}: is a {'folder' if path.is_dir() else 'file'}; name another path"
        raise InputError(message)
    if folder_of and (other := sorted(p.name for p in path.iterdir() if p.name not in folder_of)):
        message = f"{path}: holds {other[0]!r}, which no export wrote; name another folder"
        raise InputError(message)
    if not overwrite:
        message = f"{path}: exists; --overwrite replaces it"
        raise InputError(message)


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary path beside `path`, renamed at the end of the block, or removed where it fails.

    Raises:
        InputError: As `check_target`, also where the file came meanwhile.
    """
    check_target(path, overwrite=overwrite)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        _to_disk(temporary)
        check_target(path, overwrite=overwrite)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, names: Sequence[str], *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed at the end of the block, or removed where it fails.

    Args:
        path: The folder to be.
        names: The files that the block writes, all of them.
        overwrite: Whether such a folder that is there is replaced.

    Raises:
        InputError: As `check_target`.
    """
    check_target(path, overwrite=overwrite, folder_of=names)
    with replaced_folder(path, lambda: check_target(path, overwrite=overwrite, folder_of=names)) as temporary:
        yield temporary
        for name in names:
            (temporary / name).stat()  # one that was not written is an error


def _to_disk(path: Path) -> None:
    with path.open("rb") as f:
        os.fsync(f.fileno())
