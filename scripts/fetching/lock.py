"""One run in a folder at a time: two would write into one another's files. Writes a lock file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fetching.errors import FetchError

__all__ = ["alone_in"]

_LOCK = ".fetching.lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if need be; the system gives it back when a process dies.

    Raises:
        FetchError: If another run holds it, or its file system knows no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        message = f"{folder}: another run fetches into it; wait for it, or take another folder"
        raise FetchError(message) from None
    except NotImplementedError as error:
        raise FetchError(f"{folder}: its file system knows no locks ({error})") from error
    try:
        yield
    finally:
        lock.release()
