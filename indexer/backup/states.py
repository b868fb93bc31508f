"""The folder of a backup: its newest state, those before it, and what a run that was stopped has copied. I/O."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from locatlas.errors import AtlasLockedError, InputError, UnknownNameError
from locatlas.indexer.backup.files import HeldFiles
from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.store.atomic import write_atomically

__all__ = ["BackupFolder", "States"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class States:
    """The states of a backup.

    Attributes:
        records: Those that can be used, the newest first.
        unreadable: Records that cannot be used, with the reason, which names them.
    """

    records: list[BackupRecord]
    unreadable: dict[Path, str]


class BackupFolder:
    """A backup on disk.

    Attributes:
        path: The folder, absolute.
        held: The files in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.held = HeldFiles(self.path / "files")

    @property
    def record_path(self) -> Path:
        """The newest state."""
        return self.path / "backup.json"

    @property
    def _earlier(self) -> Path:
        return self.path / "earlier"

    @property
    def _progress(self) -> Path:
        return self.path / "copied.jsonl"

    @property
    def _published(self) -> Path:
        return self.path / "publications.json"

    def newest(self) -> BackupRecord | None:
        """The newest state; None if there is none yet.

        Raises:
            InputError: If its record cannot be used.
        """
        return _parsed(self.record_path) if self.record_path.is_file() else None

    def states(self) -> States:
        """All states. One record that cannot be used does not hide the others."""
        found: dict[str, BackupRecord] = {}
        newest, unreadable = None, dict[Path, str]()
        for path in [self.record_path, *self._earlier.glob("[!.]*.json")]:
            try:
                record = _parsed(path)
            except FileNotFoundError:
                continue
            except InputError as error:
                unreadable[path] = str(error)
                continue
            except OSError as error:
                unreadable[path] = f"{path}: cannot be read ({error.strerror or error})"
                continue
            newest = record.at if path == self.record_path else newest
            found.setdefault(record.at, record)
        # a clock may be set back, and states that an older locatlas took have no number
        records = sorted(found.values(), key=lambda one: (one.at == newest, one.number, one.at), reverse=True)
        return States(records, unreadable)

    def state(self, name: str | None) -> BackupRecord:
        """A state by its name, or the newest.

        Raises:
            InputError: If there is no backup here, or its record cannot be used.
            UnknownNameError: If it has no such state.
        """
        paths = {path.stem: path for path in self._earlier.glob("[!.]*.json")}
        if name in paths:  # also where the newest cannot be read any more
            return _parsed(paths[name])
        found = self.states()
        earlier = ", ".join(record.name for record in found.records)
        advice = f"; an earlier state can be had with --state: {earlier}" if earlier else ""
        if self.record_path in found.unreadable:
            raise InputError(f"{found.unreadable[self.record_path]}{advice or '; it has no other state'}")
        if not self.record_path.is_file():
            why = "no backup.json in it" if self.path.is_dir() else "no such folder"
            if self._progress.is_file():
                why = "its first run was stopped; run the same `locatlas backup` again"
            raise InputError(f"{self.path}: not a backup ({why}){advice}")
        if name is not None and name != found.records[0].name:
            raise UnknownNameError("state", name, {found.records[0].name, *paths})
        return found.records[0]

    def published(self) -> set[str]:
        """Digests of the records of states that were published from here, also of those that are forgotten since.

        Raises:
            InputError: If the note of them cannot be used.
        """
        try:
            found = json.loads(self._published.read_bytes())
        except FileNotFoundError:
            return set()
        except (OSError, ValueError) as error:
            message = f"{self._published}: cannot be read ({error}); without it only the states that are kept are known"
            raise InputError(message) from error
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            message = f"{self._published}: not written by `locatlas publish`"
            raise InputError(message)
        return set(found)

    def note_published(self, digest: str) -> None:
        """Note that a state is published, before it is.

        Raises:
            OSError: If that cannot be written.
        """
        if digest not in (known := self.published()):
            write_atomically(self._published, json.dumps(sorted({*known, digest}), indent=1).encode())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the backup, made if the folder is absent or empty, for a run that writes to it.

        Raises:
            InputError: If it is a file, holds other things, or cannot be written.
            AtlasLockedError: If another run writes to it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; a backup is a folder")
        if self.path.is_dir() and not self.record_path.is_file():
            mine = {self._progress.name, self._published.name, "files", "earlier", ".lock"}
            if other := sorted({name for name in os.listdir(self.path) if not name.endswith(".tmp")} - mine):
                message = (
                    f"{self.path}: no backup, and not empty (holds {other[0]!r}); name a backup or an empty folder"
                )
                raise InputError(message)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise AtlasLockedError(f"{self.path}: another backup is written to it now; wait for it") from None
        except NotImplementedError:
            message = f"{self.path}: its file system has no file locks, which a backup needs; name a folder elsewhere"
            raise InputError(message) from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        try:
            yield
        finally:
            lock.release()

    def progress(self) -> list[BackedFile]:
        """What a run that was stopped has copied."""
        found = []
        if self._progress.is_file():
            for line in self._progress.read_bytes().splitlines():
                try:
                    found.append(BackedFile.from_dict(json.loads(line)))
                except (ValueError, KeyError, TypeError):
                    break  # torn by a kill: it is the last line, and its file is copied again
        return found

    def add_progress(self, file: BackedFile) -> None:
        """Say that a file was copied: a run after this one need not do it again."""
        with self._progress.open("ab") as f:
            f.write(json.dumps(asdict(file)).encode() + b"\n")

    def commit(self, record: BackupRecord, *, keep: int) -> int:
        """Make a state the newest, and delete what only states before the kept ones need.

        A kill anywhere leaves the state before or this one, whole.

        Args:
            record: Whose files are all there.
            keep: How many states before it are kept.

        Returns:
            Bytes that were deleted.
        """
        found = self.states()
        if (why := found.unreadable.get(self.record_path)) is not None:
            aside = self._earlier / f"{record.name}-unreadable.json"
            aside.parent.mkdir(exist_ok=True)
            self.record_path.replace(aside)
            logger.warning("%s; it is now %s: nothing is deleted from the backup until that is", why, aside)
        elif self.record_path.is_file():
            before = found.records[0]
            write_atomically(self._earlier / f"{before.name}.json", before.to_json().encode())
        write_atomically(self.record_path, record.to_json().encode())
        return self.prune(keep=keep)

    def prune(self, *, keep: int) -> int:
        """Forget states before the last `keep`, and delete what no state needs; how many bytes that were.

        Where a record cannot be read nobody knows what its state needs, so nothing is deleted.
        """
        self._progress.unlink(missing_ok=True)
        found = self.states()
        if found.unreadable:
            return 0
        for record in found.records[1 + keep :]:
            (self._earlier / f"{record.name}.json").unlink(missing_ok=True)
        return self.held.remove_others(file.digest for record in found.records[: 1 + keep] for file in record.files)


def _parsed(path: Path) -> BackupRecord:
    return BackupRecord.from_json(path.read_text(encoding="utf-8", errors="replace"), where=str(path))
