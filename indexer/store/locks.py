"""Locks of an atlas that tell who holds them and since when. I/O.

The lock is the operating system's, so a process that dies leaves none behind; the note beside it is only for telling,
and may be that of a holder before.
"""

import json
import logging
import math
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from locatlas.indexer.store.atomic import write_atomically
from locatlas.interrupts import unbroken

__all__ = ["NotedLock", "Owner"]

logger = logging.getLogger(__name__)

POLL_S = 0.02
UNKNOWN_WAIT_S = 0.5
"""For the note of a holder who has just taken the lock."""

BRIEF_WAIT_S = 60.0
"""For a holder who says to hold it for moments only: one commit of a re-embedding, with what it compacts."""

GLANCE_S = 0.1
"""For somebody who only looks whether it is held, who holds it himself for that."""

TELL_AFTER_S = 1.0
"""Seconds after which somebody who waits says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who holds a lock.

    Attributes:
        command: What they do.
        run: Their id in the ledger, where they have one.
        brief: Whether they hold it for moments only.
        pid: Process.
        host: Machine.
        since: Seconds since the epoch.
    """

    command: str
    run: str | None = None
    brief: bool = False
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    since: float = field(default_factory=time.time)

    @property
    def age_s(self) -> int:
        """Seconds for which they hold it."""
        return max(0, round(time.time() - self.since))

    def __str__(self) -> str:
        return f"`{self.command}`, process {self.pid} on {self.host}, for {self.age_s} s"

    def is_alive(self) -> bool:
        """Whether the process exists; one on another machine is taken for alive."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@dataclass(frozen=True, slots=True)
class NotedLock:
    """A lock file with a note of who holds it.

    Attributes:
        path: The lock file.
        note: The note.
    """

    path: Path
    note: Path

    def owner(self) -> Owner | None:
        """The holder as far as the note tells; None where there is none, or only that of a process that died."""
        try:
            owner = Owner(**json.loads(self.note.read_text()))
            alive = owner.is_alive() and owner.age_s >= 0
        except (OSError, ValueError, TypeError):
            return None
        return owner if alive else None

    def holder(self) -> Owner | None:
        """The owner, if the lock is held at all.

        A note of another machine, or of a number that another process has got since, may be of one that was killed.
        """
        owner = self.owner()
        return owner if owner is not None and self._is_held() else None

    def _is_held(self) -> bool:
        """Whether anybody holds it; where that cannot be found out the note is believed."""
        if sys.platform == "win32":
            return True
        import fcntl

        try:
            with self.path.open("rb") as f:
                fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:  # it is held, or it may not be read, or cannot be locked there
            return True
        return False

    def acquire(self, *, patient: bool, refuse: Callable[[Owner | None], Exception]) -> FileLock:
        """Take the lock; the caller writes the note, and gives the lock back with `release`.

        Waits for a holder who says to hold it for moments only, and not for any other.

        Args:
            patient: Wait for every holder, as long as it takes, and say so.
            refuse: Makes the error that tells who holds it.

        Raises:
            Exception: That of `refuse`.
        """
        lock = FileLock(self.path, timeout=0)
        began, told = time.monotonic(), False
        while True:
            try:
                lock.acquire()
            except Timeout:
                owner, waited = self.owner(), time.monotonic() - began
                patience = math.inf if patient else _patience_s(owner)
                if waited >= patience:
                    raise refuse(owner) from None
                if patient and not told and waited >= TELL_AFTER_S:
                    told = True
                    logger.warning("%s: waiting for %s", self.path.parent, owner or "another process that writes")
                time.sleep(POLL_S)
            else:
                return lock

    def write_note(self, owner: Owner) -> None:
        """Say who holds it."""
        write_atomically(self.note, json.dumps(asdict(owner)).encode())

    def release(self, lock: FileLock) -> None:
        """Give the lock back."""
        with unbroken():
            try:
                self.note.unlink(missing_ok=True)
            finally:
                lock.release()


def _patience_s(owner: Owner | None) -> float:
    if owner is None:
        return UNKNOWN_WAIT_S
    return BRIEF_WAIT_S if owner.brief else GLANCE_S
