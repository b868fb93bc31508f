"""Which copies of a state somebody reads: shared locks of the operating system, which end with their process. I/O."""

import os
import sys
import weakref
from pathlib import Path

__all__ = ["hold", "is_held", "lock_of"]


def lock_of(copy: Path) -> Path:
    """The lock file of a copy, beside it: it stays while the copy itself is replaced."""
    return copy.with_name(f".{copy.name}.reading")


def hold(copy: Path, reader: object) -> None:
    """Let nobody remove a copy while an object lives.

    Args:
        copy: Its folder; who removes copies waits meanwhile.
        reader: Whoever reads it.
    """
    if sys.platform == "win32":
        return  # there is no such lock; an open file cannot be removed there
    import fcntl

    opened = os.open(lock_of(copy), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    weakref.finalize(reader, os.close, opened)
    fcntl.flock(opened, fcntl.LOCK_SH)


def is_held(copy: Path) -> bool:
    """Whether anybody reads a copy."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with lock_of(copy).open("rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
