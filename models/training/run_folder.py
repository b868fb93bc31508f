"""The folder of a run: made, and held by one training at a time. Writes files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from locatlas.errors import InputError

__all__ = ["held", "unwritable"]


@contextmanager
def held(
    folder: Path,
    *,
    wait_s: float = 0,
    busy: str = "another training runs in it; wait for it, stop it, or take another folder",
) -> Iterator[None]:
    """Make the folder if it is absent, and keep others out.

    The lock is the operating system's, so a dead process leaves none behind.

    Args:
        folder: Of a run, or of all runs.
        wait_s: For whoever holds it.
        busy: What is said of a folder that stays held.

    Raises:
        InputError: If the folder cannot be made or written to, or is held by another process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=wait_s)
        lock.acquire()
    except Timeout:
        message = f"{folder}: {busy}"
        raise InputError(message) from None
    except NotImplementedError as error:
        message = f"{folder}: its file system has no file locks; take another disk (--run-folder, or LOCATLAS_HOME)"
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
