"""A folder that is made whole or not at all, and replaced only where everything in it was made in the same way. I/O."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from locatlas.errors import InputError, one_line

__all__ = ["CONTENTS", "check_free", "made_whole"]

CONTENTS = "report.json"
"""Names all files of the folder under `files`."""


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that must not be replaced.

    An empty folder is free. One that holds something is replaced with `overwrite` only, and only if its `report.json`
    names every file in it: nothing of anybody else's is ever deleted.

    Raises:
        InputError: If it may not be replaced.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        message = f"{out}: exists and is not a folder"
        raise InputError(message)
    there = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
    if not there:
        return
    if not overwrite:
        message = f"{out}: exists; name another folder, or --overwrite"
        raise InputError(message)
    foreign = [name for name in there if name not in _named(out)]
    if foreign:
        message = f"{out}: holds {one_line(foreign[0])}, which no report made; it is not overwritten"
        raise InputError(message)


def _named(out: Path) -> set[str]:
    try:
        found = json.loads((out / CONTENTS).read_text(encoding="utf-8"))
        return set(found["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextmanager
def made_whole(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to fill, beside `out`, which gets its name when the block is through; else nothing of it is left.

    Args:
        out: The folder to make.
        overwrite: As `check_free`.

    Yields:
        An empty folder.

    Raises:
        InputError: As `check_free`, which is asked at the end again.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    before = out.with_name(f".{out.name}.before-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # of a process of the same number that was killed
    partial.mkdir()
    try:
        yield partial
        check_free(out, overwrite=overwrite)
        if out.exists():
            out.rename(before)
            try:
                partial.rename(out)
            except BaseException:  # a stop between the two renames, too, must not leave no report at all
                before.rename(out)
                raise
            shutil.rmtree(before)
        else:
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
