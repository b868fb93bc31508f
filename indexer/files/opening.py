"""Image files opened so that whatever goes wrong inside is told with the file's name. Reads files."""

import errno
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zipfile import BadZipFile

from PIL import Image

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.limits import limits

__all__ = ["opened"]

# What the decoders raise on damaged bytes, found by feeding them mutated files: imagecodecs' errors are RuntimeErrors,
# Pillow uses SyntaxError for broken PNG chunks, tifffile lets lookups, divisions and conversions of bad tags through.
DECODER_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    EOFError,
    SyntaxError,
    struct.error,
    zlib.error,
    BadZipFile,
    Image.DecompressionBombError,
)

NOT_THE_FILES = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        *(getattr(errno, name) for name in ("ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN") if hasattr(errno, name)),
    }
)
"""Errors that say nothing of the file: a process without file handles, or a server that is gone, must not put every
image in quarantine, where it would not be tried again."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """A plain file that is not empty, and its size in bytes.

    Raises:
        ImageRejectedError: Naming the file: where it cannot be opened, and for every error of a decoder inside.
        OSError: If the system has no means to open any file (`NOT_THE_FILES`).
    """
    try:
        # non-blocking, so that a FIFO without a writer cannot hold the run up
        with open(path, "rb", opener=_nonblocking) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                _reject("not a plain file")
            if status.st_size == 0:
                _reject("the file is empty")
            yield stream, status.st_size
    except (ImageRejectedError, MemoryError, *DECODER_ERRORS) as error:
        if isinstance(error, OSError) and error.errno in NOT_THE_FILES:
            raise
        reason = _reason(error)
        # named already where it was opened a second time inside
        message = reason if reason.startswith(f"{path}: ") else f"{path}: {reason}"
        raise ImageRejectedError(message) from error


def _reason(error: BaseException) -> str:
    """Why a file is refused, on one line."""
    match error:
        case ImageRejectedError():
            return str(error)
        case FileNotFoundError():
            return "no such file"
        case IsADirectoryError():
            return "a folder, not a file"
        case PermissionError():
            return f"may not be read ({error.strerror})"
        case MemoryError():
            return f"needs more memory than there is for one image ({limits().decoder_bytes / 2**20:.0f} MiB)"
        case _:
            return f"cannot be decoded: {' '.join(str(error).split())[:300] or type(error).__name__}"


def _nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _reject(reason: str) -> None:
    raise ImageRejectedError(reason)
