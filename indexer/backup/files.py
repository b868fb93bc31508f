"""The files of a backup, each under the digest of its bytes: written once, whole or not at all. I/O."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from locatlas.indexer.file_digest import BLOCK, sync_folder

__all__ = ["HeldFiles", "copy_hashed"]


class HeldFiles:
    """Bytes by their digest, below a folder.

    Not hard links, neither to the atlas nor between states: a bit that flips would be in both, exFAT has none, and a
    file that is named by its digest is shared between states by its name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Where the bytes of this digest lie."""
        return self._folder / digest[:2] / digest

    def has(self, digest: str, size: int) -> bool:
        """Whether they are there, as many as they should be."""
        try:
            return self.path(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def put(self, source: Path | bytes) -> tuple[int, str, bool]:
        """Take a file in.

        Args:
            source: A file, or its bytes.

        Returns:
            Size, digest, and whether it was not there already.

        Raises:
            OSError: If it cannot be read or written; nothing half is left.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{os.getpid()}.tmp"
        try:
            if isinstance(source, bytes):
                size, digest = copy_hashed(io.BytesIO(source), temporary)
            else:
                with source.open("rb", buffering=0) as f:
                    size, digest = copy_hashed(f, temporary)
            if self.has(digest, size):
                return size, digest, False
            path = self.path(digest)
            path.parent.mkdir(exist_ok=True)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)  # a full disk must not be left fuller
        return size, digest, True

    def remove_others(self, digests: Iterable[str]) -> int:
        """Delete what has none of these digests, and what kills left; how many bytes that were."""
        kept, freed = set(digests), 0
        for path in self._folder.glob("**/*"):
            if path.is_file() and path.name not in kept:
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
        return freed


def copy_hashed(source: io.RawIOBase | io.BytesIO, to: Path) -> tuple[int, str]:
    """Copy what is left of a stream to a new file, through to the disk; size and blake2b-128 (hex) of what was read.

    Raises:
        OSError: If it cannot be read or written; names the file.
    """
    digest, size = hashlib.blake2b(digest_size=16), 0
    try:
        with to.open("wb", buffering=0) as out:
            for block in blocks(source):
                digest.update(block)
                size += len(block)
                written = 0
                while written < len(block):
                    written += out.write(block[written:])
            os.fsync(out.fileno())
    except OSError as error:
        if error.filename is None:  # as when the disk is full
            error.filename = str(to)
        raise
    return size, digest.hexdigest()


def blocks(source: io.RawIOBase | io.BytesIO) -> Iterator[memoryview]:
    """What is left of a stream, in pieces that are good until the next.

    Raises:
        OSError: If it cannot be read; names the file.
    """
    block = memoryview(bytearray(BLOCK))
    while True:
        try:
            n = source.readinto(block)
        except OSError as error:
            error.filename = getattr(source, "name", None)
            raise
        if not n:
            return
        yield block[:n]
