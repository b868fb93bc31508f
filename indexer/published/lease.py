"""Who may write at an address: a lock object that is put by condition and renewed while its owner works. Network.

Whoever writes puts `writer.json` if it is not there, and renews it by its tag. A lock that was not renewed for
`LEASE_S`, by the clock of the store alone, is of somebody who died: it is taken over, by its tag as well. That an owner
who was only asleep goes on then does no harm: what is published is put by its own tag, so that the later one fails.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.published.objects import Objects, OvertakenError, Tag
from locatlas.indexer.store.locks import Owner

__all__ = ["LEASE_S", "LOCK", "Lease", "WriterNote", "require_conditions", "writer_at"]

logger = logging.getLogger(__name__)

LOCK = "writer.json"
"""Object that says who writes."""

LEASE_S = 300.0
"""Seconds without a renewal after which a writer is taken for dead."""

RENEW_S = 60.0
"""Seconds after which it is renewed: a few renewals may fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterNote(Owner):
    """What the lock object says: who holds it, since when by their own clock, which is only told.

    Attributes:
        token: Random, of this writer alone.
        renewed: How many times it was renewed, so that no two versions of the object are the same.
        released: Whether the writer is done.
    """

    token: str
    renewed: int = 0
    released: bool = False

    def __str__(self) -> str:
        return f"`{self.command}`, process {self.pid} on {self.host}"

    def has_died(self) -> bool:
        """Whether its process was one of this machine and is gone, or is this one, which does something else now."""
        return (self.host, self.pid) == (socket.gethostname(), os.getpid()) or not self.is_alive()

    def to_bytes(self) -> bytes:
        """The object."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self | None:
        """What `to_bytes` made; None if it is not that."""
        try:
            found = cls(**json.loads(data))
        except (ValueError, TypeError):
            return None
        return found if isinstance(found.token, str) and isinstance(found.released, bool) else None


def writer_at(objects: Objects) -> WriterNote | None:
    """Who writes at an address, or died there; None where nobody does."""
    found = objects.read(LOCK)
    note = None if found is None else WriterNote.from_bytes(found.data)
    return None if note is None or note.released else note


def require_conditions(objects: Objects) -> datetime:
    """Refuse a store that takes a put whose condition does not hold; the time of the store.

    Raises:
        InputError: Saying which condition it lacks.
    """
    name = f"probe/{secrets.token_hex(8)}"
    try:
        try:
            objects.replace(name, b"first", tag=None)
        except InputError as error:
            if "501 Not Implemented" in str(error.__cause__):
                raise _lacking(objects, "If-None-Match: *", "refuses every put with the condition") from error
            raise
        if _is_taken(objects, name, None):
            raise _lacking(objects, "If-None-Match: *")
        if _is_taken(objects, name, {"e_tag": f'"{secrets.token_hex(16)}"', "version": "0"}):
            raise _lacking(objects, "If-Match")
        return objects.put_at(name)
    except FileNotFoundError:
        message = f"{objects.uri}/{name}: gone at once; the store does not show what was put"
        raise InputError(message) from None
    finally:
        with suppress(InputError):
            objects.remove([name])


def _is_taken(objects: Objects, name: str, tag: Tag | None) -> bool:
    """Whether a put is taken though its condition does not hold."""
    try:
        objects.replace(name, b"second", tag=tag)
    except OvertakenError:
        return False
    return True


def _lacking(objects: Objects, condition: str, how: str = "takes a put that does not meet the condition") -> InputError:
    message = (
        f"{objects.uri}: this store {how} `{condition}`, without which two writers would write over each other; an "
        "atlas cannot be written there. Write it in a folder, or use a store with conditional writes"
    )
    return InputError(message)


class Lease:
    """The right to write at an address, for as long as it is renewed.

    Attributes:
        lost: Who took it, in words, once somebody did; None before.
    """

    def __init__(self, objects: Objects, note: WriterNote, tag: Tag, now: datetime) -> None:
        self._objects, self._note, self._tag = objects, note, tag
        self._began = (now, time.monotonic())
        self._lock, self._stop = threading.Lock(), threading.Event()
        self.lost: str | None = None

    @classmethod
    @contextmanager
    def taken(cls, objects: Objects, command: str, *, token: str, mine: str | None = None) -> Iterator[Self]:
        """Hold it for the length of a block.

        Args:
            objects: Where.
            command: What is done, told to whoever wants to write as well.
            token: Random.
            mine: Token of the writer before in the same copy, who is dead if the copy is not held and was not copied.

        Raises:
            InputError: If the store has no conditional writes, or cannot be reached.
            AtlasLockedError: If another writes; says who.
        """
        lease = cls._acquire(objects, WriterNote(command=command, token=token), mine)
        renewing = threading.Thread(target=lease._renew_again, name="locatlas lease", daemon=True)
        renewing.start()
        try:
            yield lease
        finally:
            lease._stop.set()
            renewing.join()
            lease._release()

    @classmethod
    def _acquire(cls, objects: Objects, note: WriterNote, mine: str | None) -> Self:
        now = require_conditions(objects)
        found = objects.read(LOCK)
        if found is not None:
            there = WriterNote.from_bytes(found.data)
            age_s = (now - found.at).total_seconds()
            if there is None or not (there.released or (there.token == mine and there.has_died())):
                who = str(there or "somebody whose lock cannot be read")
                if age_s < LEASE_S:
                    raise _refused(objects, who, age_s)
                logger.warning("%s: taken over from %s, not heard of for %d s", objects.uri, who, age_s)
        try:
            tag = objects.replace(LOCK, note.to_bytes(), tag=None if found is None else found.tag)
            return cls(objects, note, tag, now)
        except OvertakenError:
            who = str(writer_at(objects) or "another process")
            raise _refused(objects, who, 0) from None

    def time(self) -> datetime:
        """The time by the clock of the store."""
        now, at = self._began
        return now + timedelta(seconds=time.monotonic() - at)

    def ensure(self) -> None:
        """Renew it now.

        Raises:
            AtlasLockedError: If somebody took it.
            InputError: If the store cannot be reached.
        """
        with self._lock:
            if self.lost is None:
                note = replace(self._note, renewed=self._note.renewed + 1)
                try:
                    self._tag = self._objects.replace(LOCK, note.to_bytes(), tag=self._tag)
                except OvertakenError:
                    self.lost = str(writer_at(self._objects) or "another process, which is done")
                    logger.warning("%s: no longer ours to write, taken over by %s", self._objects.uri, self.lost)
                else:
                    self._note = note
            if self.lost is not None:
                message = f"{self._objects.uri}: taken over by {self.lost}, since this machine was not heard of"
                raise AtlasLockedError(message)

    def _renew_again(self) -> None:
        while not self._stop.wait(RENEW_S):
            try:
                self.ensure()
            except AtlasLockedError:
                return
            except InputError as error:
                logger.warning("%s; tried again", error)

    def _release(self) -> None:
        """Say that we are done. Where that cannot be said, the time tells."""
        if self.lost is None:
            with suppress(OvertakenError, InputError):
                self._objects.replace(LOCK, replace(self._note, released=True).to_bytes(), tag=self._tag)


def _refused(objects: Objects, who: str, age_s: float) -> AtlasLockedError:
    message = (
        f"{objects.uri}: another writer holds this atlas ({who}, heard of {max(0, round(age_s))} s ago); wait for it. "
        f"One that is not heard of for {LEASE_S:g} s is taken for dead. Queries keep working"
    )
    return AtlasLockedError(message)
