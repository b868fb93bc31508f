"""What the disk of an atlas must have: room for what is to be written, and links to commit by. I/O."""

import os
import shutil
from pathlib import Path

from locatlas.errors import InputError

__all__ = ["SPARE_BYTES", "bytes_of_images", "require_links", "require_space"]

ROW_BYTES = 4096
"""Of an image in its table, with its thumbnail, and of its id, digest and line in the tables of vectors: measured 2 to
4 kB."""

SPARE_BYTES = 8 << 20
"""Left free besides what is copied, for records and the file system itself."""

COPIES = 2
"""Merging fragments writes them anew before the old ones go."""


def bytes_of_images(n: int, dim: int) -> int:
    """How much images that are to be embedded will take, roughly.

    Args:
        n: Images.
        dim: Numbers of a vector, 4 bytes each.
    """
    return n * (4 * dim + ROW_BYTES) * COPIES


def require_space(folder: Path, n_bytes: int, *, spare: int = 0) -> None:
    """Refuse to begin what cannot end.

    Args:
        folder: Where it is to be written; exists.
        n_bytes: How much.
        spare: To be left free besides.

    Raises:
        InputError: Naming what is needed and what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes + spare:
        message = f"{folder}: {n_bytes / 1e6:.1f} MB are to be written and {free / 1e6:.1f} MB are free; nothing was"
        raise InputError(message)


def require_links(folder: Path) -> None:
    """Refuse a file system on which no version of a table could be committed.

    Lance writes a manifest under another name and links it to its own (`link`), so that of two writers one fails; data
    files are renamed. exFAT and some network file systems have no hard links.

    What an attempt left that was killed is removed first.

    Args:
        folder: Exists and can be written; nobody else tries it meanwhile.

    Raises:
        InputError: If a file in it cannot be linked or renamed.
    """
    first, second, third = (folder / f".probe-{os.getpid()}-{n}" for n in range(3))
    try:
        for path in folder.glob(".probe-[0-9]*-[0-2]"):
            path.unlink()
        first.touch()
        os.link(first, second)
        second.rename(third)
    except OSError as error:
        message = (
            f"{folder}: its file system cannot {'link' if not second.exists() else 'rename'} files "
            f"({error.strerror or error}), by which tables are committed; put the atlas on another disk"
        )
        raise InputError(message) from error
    finally:
        for path in (first, second, third):
            path.unlink(missing_ok=True)
