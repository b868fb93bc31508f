"""Die or fail at the n-th step at which something is written: Python's own files, and the calls that let Lance write.

A step of Python's is an open for writing, a write, a flush to disk, a rename, a removal or a new folder below a watched
folder; a step of Lance's is one call of it, which fails or dies before or after, never halfway: what happens inside is
reached by signals at random times, full disks and limits of the process.
"""

import errno
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ERRORS", "LANCE_STEPS", "Steps", "kill_here", "steps"]

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)

_PYTHON = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir")


def kill_here() -> None:
    """Die as if killed from outside: no handler, no tidying up."""
    os.kill(os.getpid(), signal.SIGKILL)


def _lance_targets() -> list[tuple[Any, str]]:
    import lance
    from lance.dataset import DatasetOptimizer, LanceDataset, MergeInsertBuilder

    return [
        (lance, "write_dataset"),
        (LanceDataset, "update_field_metadata"),
        (MergeInsertBuilder, "execute"),
        (LanceDataset, "delete"),
        (LanceDataset, "commit"),
        (DatasetOptimizer, "compact_files"),
    ]


LANCE_STEPS = frozenset({"write_dataset", "update_field_metadata", "execute", "delete", "commit", "compact_files"})


@dataclass(slots=True)
class Steps:
    """Counts steps, and does something at one of them.

    Attributes:
        below: Folders whose files are watched.
        at: Step (from 1) at which to act; 0 for never.
        act: What is done there; it may raise, or not return.
        after: Act once the step was taken, not before.
        stays: Act at every later step, too: a disk that is full stays full.
        reads: Whether opens for reading are steps.
        taken: Names of the steps.
    """

    below: tuple[str, ...]
    at: int = 0
    act: Callable[[], None] = kill_here
    after: bool = False
    stays: bool = False
    reads: bool = False
    taken: list[str] = field(default_factory=list)

    def watches(self, path: Any) -> bool:
        """Whether a path is below a watched folder."""
        if not isinstance(path, str | os.PathLike):
            return False
        return os.path.abspath(os.fspath(path)).startswith(self.below)

    def step(self, name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Take a step."""
        self.taken.append(name)
        number = len(self.taken)
        due = bool(self.at) and (number == self.at or (self.stays and number > self.at))
        if due and not self.after:
            self.act()
        try:
            return real(*args, **options)
        finally:  # a step may raise what is expected: a folder that is there already, a file that is not
            if due and self.after:
                self.act()

    def opened(self, real: Callable[..., Any], path: Any, mode: str, *args: Any, **options: Any) -> Any:
        """Open a file; what is written to it are steps, too."""
        if isinstance(path, int) or not self.watches(path):
            return real(path, mode, *args, **options)
        writes = not set(mode).isdisjoint("wax+")
        if not writes and not self.reads:
            return real(path, mode, *args, **options)
        file = self.step("open" if writes else "open to read", real, path, mode, *args, **options)
        if writes:
            write = file.write
            file.write = lambda data: self.step("write", write, data)
        return file


@contextmanager
def steps(below: Path, *, lance: bool = True, **how: Any) -> Iterator[Steps]:
    """Watch what is written below a folder, as long as the block runs.

    Args:
        below: The folder.
        lance: Whether calls of Lance are steps, too.
        how: Of `Steps`.
    """
    watched = Steps((str(below.resolve()),), **how)
    undo: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, new: Any) -> None:
        undo.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, new)

    def hooked(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            # a name below an open folder comes from the removal of a tree
            below_open = options.get("dir_fd") is not None
            if name in _PYTHON and name != "fsync" and not below_open and not any(map(watched.watches, args)):
                return real(*args, **options)
            return watched.step(name, real, *args, **options)

        return call

    def opening(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda path, mode="r", *args, **options: watched.opened(real, path, mode, *args, **options)

    put(io, "open", opening(io.open))
    for name in _PYTHON:
        put(os, name, hooked(name, getattr(os, name)))
    for owner, name in _lance_targets() if lance else ():
        real = owner.__dict__[name]
        if isinstance(real, staticmethod):
            put(owner, name, staticmethod(hooked(name, real.__func__)))
        else:
            put(owner, name, hooked(name, real))
    try:
        yield watched
    finally:
        for owner, name, real in reversed(undo):
            setattr(owner, name, real)
