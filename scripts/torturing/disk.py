"""A small disk of one's own that can be filled: a tmpfs, where mounting is allowed. I/O."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Disk", "mounted"]


class Disk:
    """A mounted tmpfs.

    Args:
        path: Where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / ".filler"

    @property
    def free(self) -> int:
        """Bytes."""
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    @contextmanager
    def full(self, but: int) -> Iterator[None]:
        """Leave only so many bytes, as long as the block runs."""
        with self._filler.open("wb") as f:
            left = max(0, self.free - but)
            block = b"\0" * (1 << 20)
            with suppress(OSError):  # it is full now
                while left > 0:
                    left -= f.write(block[:left])
        try:
            yield
        finally:
            self._filler.unlink(missing_ok=True)


@contextmanager
def mounted(path: Path, megabytes: int) -> Iterator[Disk | None]:
    """A tmpfs at a folder, which is made; None where mounting is refused."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        yield None
        return
    if done.returncode:
        yield None
        return
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], capture_output=True, check=False)
