"""The digest of a file's bytes, and what brings names to the disk. I/O."""

import hashlib
import os
from pathlib import Path

__all__ = ["BLOCK", "FileState", "bytes_digest", "file_digest", "file_state", "sync_folder"]

BLOCK = 4 << 20
"""Bytes read at once: hashing gives up the interpreter's lock for each block."""

FileState = tuple[int, int, int]
"""Inode, time of change (ns) and bytes of a file that is replaced, never written in place."""


def file_state(path: Path) -> FileState:
    """What is another once a file was replaced.

    Raises:
        OSError: If it cannot be looked at.
    """
    said = path.stat()
    return said.st_ino, said.st_mtime_ns, said.st_size


def file_digest(path: Path, *, to_disk: bool = False) -> tuple[int, str]:
    """Size and blake2b-128 (hex) of a file.

    Args:
        path: The file.
        to_disk: Also wait until the file is on disk.

    Raises:
        OSError: If it cannot be read.
    """
    digest, size = hashlib.blake2b(digest_size=16), 0
    with path.open("rb", buffering=0) as f:
        block = memoryview(bytearray(min(BLOCK, max(1, os.fstat(f.fileno()).st_size))))
        while n := f.readinto(block):
            digest.update(block[:n])
            size += n
        if to_disk:
            os.fsync(f.fileno())
    return size, digest.hexdigest()


def bytes_digest(data: bytes) -> str:
    """blake2b-128 (hex) of what a file holds, or is to hold."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def sync_folder(path: Path) -> None:
    """Let names in a folder reach the disk."""
    if os.name == "posix":
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
