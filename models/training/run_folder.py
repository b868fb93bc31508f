"""The folder of a run: made, and held by one training at a time. Writes files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from locatlas.errors import InputError

__all__ = ["held", "unwritable"]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder if it is absent, and keep others out.

    The lock is the operating system's, so a dead process leaves none behind.

    Raises:
        InputError: If the folder cannot be made or written to, or another training runs in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        message = f"{folder}: another training runs in it; wait for it, stop it, or take another folder"
        raise InputError(message) from None
    except NotImplementedError as error:
        message = f"{folder}: its file system has no file locks; take a folder on another disk"
        raise InputError(message) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def unwritable(path: Path, error: OSError | RuntimeError, hint: str = "") -> InputError:
    """The one line for a file or folder that cannot be written.

    Args:
        path: It.
        error: What happened; torch turns the system's errors into RuntimeError.
        hint: What else is to be known.
    """
    reason = (error.strerror if isinstance(error, OSError) else None) or next(iter(str(error).splitlines()), "")
    if isinstance(error, OSError) and error.errno is not None and not error.strerror:
        reason = os.strerror(error.errno)
    return InputError(f"{path}: cannot be written ({reason or type(error).__name__}){f'; {hint}' if hint else ''}")
