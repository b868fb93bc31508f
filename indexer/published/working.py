"""The copy of a published atlas that is written on this machine, and which state it began from. I/O, network.

It is an atlas like any other, in `LOCATLAS_HOME/working/<address>/atlas`. The record of the state that it began from
lies in it (`.published/`), so that both are replaced at once; in a folder of its own, since a writer of the atlas
removes temporary files beside its lock as those of the dead. What was committed and not published yet is more than
that state: it is published with what comes next, unless somebody else published meanwhile; then it is kept beside.
"""

import datetime as dt
import json
import logging
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from locatlas.errors import AtlasLockedError, InputError, StoreDamagedError
from locatlas.indexer.backup.copying import Copying
from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.published.fetch import fetch
from locatlas.indexer.published.objects import Objects, Tag
from locatlas.indexer.published.places import mirrors_of, states_in, working_folder
from locatlas.indexer.published.publish import RECORD, record_of
from locatlas.indexer.store.atomic import remove, write_atomically
from locatlas.indexer.store.file_digest import bytes_digest, file_digest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["WorkingCopy"]

logger = logging.getLogger(__name__)

_NOTES = ".published"
"""Folder in the copy with what is known of the store."""

_RECORD, _SETTLED = f"{_NOTES}/record.json", f"{_NOTES}/settled.json"
"""The state that it began from; the files that were not as they are in the store from the beginning."""

DERIVED = "cache"
"""Folder in an atlas that is of no state, and is taken along to the next."""


class WorkingCopy:
    """The copy of one address.

    Attributes:
        uri: The address.
        path: The atlas; absent until something was published or written.
        base: The state that it began from, or published; None where it began from nothing.
        tag: Of the record in the store that says so.
    """

    def __init__(self, uri: str) -> None:
        self.uri, self._folder = uri, working_folder(uri)
        self.path = self._folder / "atlas"
        self.base: BackupRecord | None = None
        self.tag: Tag | None = None

    @contextmanager
    def locked(self) -> Iterator[tuple[str, str | None]]:
        """Hold the copy; a token for this writer, and that of the one before, who is dead: it would hold the copy.

        Raises:
            AtlasLockedError: If another process of this machine does.
            InputError: If it cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._folder / ".lock", timeout=0)
            lock.acquire()
        except Timeout:
            message = f"{self.uri}: another process of this machine writes it; wait for it. Queries keep working"
            raise AtlasLockedError(message) from None
        except (OSError, NotImplementedError) as error:
            raise InputError(f"{self._folder}: cannot be written ({error})") from error
        try:
            noted = self._folder / "token.json"
            before = _token(noted)
            token = secrets.token_hex(16)
            write_atomically(noted, json.dumps({"uri": self.uri, "token": token, "before": before}).encode())
            yield token, before
        finally:
            lock.release()

    @property
    def has_atlas(self) -> bool:
        """Whether there is anything."""
        return (self.path / "atlas.json").is_file()

    def bring_up_to(self, objects: Objects) -> None:
        """Let it be what is published, and what this machine committed since.

        Where somebody else published meanwhile, what this machine committed is kept beside, and told.

        Raises:
            InputError: If the store cannot be reached, its record cannot be used, or the disk is full.
            StoreDamagedError: If an object that is needed is missing or not what was published.
        """
        found = objects.read(RECORD)
        self.tag = None if found is None else found.tag
        published = None if found is None else found.data
        known = self._known(published)
        self.base = None if published is None else self._parsed(published)
        if self.has_atlas and published == known:
            if published is not None and self._is_own(published):
                self.settle(published)  # who put it died before he could say so
            return
        if self.has_atlas and (published is None or known is None or self._goes_beyond(self._parsed(known))):
            since = "what was published there is gone" if published is None else "somebody else wrote there since"
            kept = self.set_aside()
            logger.warning("%s: %s; what this machine had committed is kept in %s", self.uri, since, kept)
        if published is None or self.base is None:
            return
        staging, before = self._folder / ".atlas.new", self._folder / ".atlas.before"
        fetch(objects, self.base, staging, here=[*states_in(mirrors_of(self.uri)), self.path])
        write_atomically(staging / _SETTLED, json.dumps(_settled(staging, self.base)).encode())
        write_atomically(staging / _RECORD, published)
        if (self.path / DERIVED).is_dir():
            (self.path / DERIVED).rename(staging / DERIVED)
        shutil.rmtree(before, ignore_errors=True)
        if self.path.exists():
            self.path.rename(before)
        staging.rename(self.path)
        shutil.rmtree(before, ignore_errors=True)

    def about_to_publish(self, record: bytes) -> None:
        """Note a record before it is put: who dies then, or gets no answer, knows it for his own.

        Those of before stay until one is known to be published: each may be there, or arrive.
        """
        write_atomically(self.path / _NOTES / f"publishing-{bytes_digest(record)}.json", record)

    def settle_own(self, objects: Objects) -> bool:
        """Whether the record in the store is one that this machine put and got no answer to; it counts as put then.

        Raises:
            InputError: If the store cannot be reached.
        """
        found = objects.read(RECORD)
        if found is None or not self._is_own(found.data):
            return False
        self.tag = found.tag
        self.settle(found.data)
        return True

    def settle(self, record: bytes) -> None:
        """Note that a record is published, and that the copy is that state, or more."""
        self.base = self._parsed(record)
        write_atomically(self.path / _RECORD, record)
        (self.path / _SETTLED).unlink(missing_ok=True)
        remove(self._publishing)

    def is_published(self, now: BackupRecord) -> bool:
        """Whether a state of the copy is the one that it began from."""
        return self.base is not None and self._as_begun(self.base) == {file.path: file for file in now.files}

    def _as_begun(self, base: BackupRecord) -> dict[str, BackedFile]:
        """The files of a state as this copy had them at its beginning: the journal of digests was settled."""
        try:
            settled = json.loads((self.path / _SETTLED).read_bytes())
        except FileNotFoundError:
            settled = []
        return {file.path: file for file in (*base.files, *map(BackedFile.from_dict, settled))}

    def is_ahead(self) -> bool:
        """Whether something was committed that is not published."""
        return self.has_atlas and (self.base is None or self._goes_beyond(self.base))

    def set_aside(self) -> Path:
        """Keep the copy under another name, as an atlas of its own; where."""
        kept = self._folder / f"kept-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%fZ}"
        self.path.rename(kept)
        remove([kept / _NOTES])
        return kept

    def _known(self, published: bytes | None) -> bytes | None:
        """The record of the state that it began from; one that was about to be published, if that was."""
        if published is not None and self._is_own(published):
            return published
        try:
            return (self.path / _RECORD).read_bytes()
        except FileNotFoundError:
            return None

    def _is_own(self, published: bytes) -> bool:
        """Whether this machine was about to put a record, and does not know yet that it is there."""
        return any(path.read_bytes() == published for path in self._publishing)

    def _goes_beyond(self, base: BackupRecord) -> bool:
        """Whether it is more than the state that it began from, or damaged, so that only a look could tell."""
        folder = AtlasFolder(self.path)
        known = {file.path: file for file in base.files}
        try:
            now = Copying(folder, _Digests(), with_indices=True, before=None, known=known).record(0)
        except StoreDamagedError:
            return True
        return _without_derived(now.files) != _without_derived(self._as_begun(base).values())

    def _parsed(self, data: bytes) -> BackupRecord:
        return record_of(self.uri, data)

    @property
    def _publishing(self) -> list[Path]:
        return [*(self.path / _NOTES).glob("publishing-*.json")]


class _Digests:
    """Takes digests and keeps nothing."""

    def has(self, digest: str, size: int) -> bool:
        return True

    def put(self, source: Path | bytes) -> tuple[int, str, bool]:
        size, digest = file_digest(source) if isinstance(source, Path) else (len(source), bytes_digest(source))
        return size, digest, False

    def make_room(self, n_bytes: int) -> None:
        pass


def _without_derived(files: Iterable[BackedFile]) -> set[BackedFile]:
    """Files of a state but FAISS indices, which can always be made again."""
    return {file for file in files if not file.path.startswith("indices/")}


def _settled(atlas: Path, base: BackupRecord) -> list[dict[str, Any]]:
    """The files that are others once a state is put together: its journal names no files of older versions any more."""
    names = ("atlas.json", "digests/")
    found = (BackedFile(f.path, *file_digest(atlas / f.path)) for f in base.files if f.path.startswith(names))
    return [asdict(file) for file in found if file not in base.files]


def _token(noted: Path) -> str | None:
    try:
        token = json.loads(noted.read_bytes())["token"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return token if isinstance(token, str) else None
