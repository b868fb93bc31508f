"""The files of a backup, each under the digest of its bytes: written once, whole or not at all. I/O."""

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from locatlas.indexer.store.disk import SPARE_BYTES, require_space
from locatlas.indexer.store.file_digest import BLOCK, sync_folder

__all__ = ["BAD", "HeldFiles", "blocks", "copy_hashed", "open_regular"]

BAD = ".bad"
"""Ending of files that were seen to hold other bytes than those of their digest."""


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
        """Whether they are there, as many as they should be; a link is not."""
        try:
            found = self.path(digest).lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def make_room(self, n_bytes: int) -> None:
        """Refuse what there is no room for.

        Raises:
            InputError: If the disk would be full.
        """
        require_space(self._folder.parent, n_bytes, spare=SPARE_BYTES)

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
            new, path = not self.has(digest, size), self.path(digest)
            # also where it is there: what was just read is right, while the bytes that lie there may have changed
            path.parent.mkdir(exist_ok=True)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)  # a full disk must not be left fuller
        return size, digest, new

    def set_aside(self, digest: str) -> None:
        """Take bytes that are not what was copied out of the way, so that they are copied again.

        Raises:
            OSError: If they cannot be renamed.
        """
        path = self.path(digest)
        path.replace(path.with_name(digest + BAD))
        sync_folder(path.parent)

    def remove_others(self, digests: Iterable[str]) -> int:
        """Delete what has none of these digests, and what kills left; how many bytes that were.

        What was set aside stays for as long as there is nothing better.
        """
        kept, freed = set(digests), 0
        for path in self._folder.glob("**/*"):
            digest = path.name.removesuffix(BAD)
            if digest in kept and (path.name == digest or not self.path(digest).exists()):
                continue
            if path.is_file():
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
        return freed


def open_regular(path: Path) -> io.FileIO:
    """Open a file to read it, unless it is a link, a pipe or a device, which may have no end.

    Raises:
        OSError: If it is not there, not regular, or cannot be opened.
    """
    # not on every system; a pipe is not waited for
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    if path.is_symlink():
        raise OSError(errno.ELOOP, "is a link", str(path))
    f = io.FileIO(path, opener=lambda name, _: os.open(name, flags))
    if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
        f.close()
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return f


def copy_hashed(source: io.RawIOBase | io.BytesIO, to: Path, *, at_most: int | None = None) -> tuple[int, str]:
    """Copy what is left of a stream to a new file, through to the disk; size and blake2b-128 (hex) of what was read.

    Args:
        source: The stream.
        to: The new file.
        at_most: Bytes after which it is left off; None for all.

    Raises:
        OSError: If it cannot be read or written; names the file.
    """
    digest, size = hashlib.blake2b(digest_size=16), 0
    try:
        with to.open("wb", buffering=0) as out:
            for block in blocks(source, at_most=at_most):
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


def blocks(source: io.RawIOBase | io.BytesIO, *, at_most: int | None = None) -> Iterator[memoryview]:
    """What is left of a stream, in pieces that are good until the next.

    Args:
        source: The stream.
        at_most: Bytes after which it is left off; None for all.

    Raises:
        OSError: If it cannot be read; names the file.
    """
    block, left = memoryview(bytearray(BLOCK)), at_most
    while left is None or left > 0:
        try:
            n = source.readinto(block if left is None else block[:left])
        except OSError as error:
            error.filename = getattr(source, "name", None)
            raise
        if not n:
            return
        left = None if left is None else left - n
        yield block[:n]
