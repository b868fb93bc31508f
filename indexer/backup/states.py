"""The folder of a backup: its newest state, those before it, and what a run that was stopped has copied. I/O."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from locatlas.errors import AtlasLockedError, InputError, UnknownNameError
from locatlas.indexer.atomic import write_atomically
from locatlas.indexer.backup.files import HeldFiles
from locatlas.indexer.backup.record import BackedFile, BackupRecord

__all__ = ["BackupFolder"]


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

    def newest(self) -> BackupRecord | None:
        """The newest state; None if there is none yet.

        Raises:
            InputError: If its record cannot be used.
        """
        return _parsed(self.record_path) if self.record_path.is_file() else None

    def earlier(self) -> list[BackupRecord]:
        """The states before the newest, the latest first.

        Raises:
            InputError: If a record cannot be used.
        """
        newest = self.newest()
        found = [_parsed(path) for path in sorted(self._earlier.glob("[!.]*.json"), reverse=True)]
        return [record for record in found if newest is None or record.at != newest.at]

    def state(self, name: str | None) -> BackupRecord:
        """A state by its name, or the newest.

        Raises:
            InputError: If there is no backup here, or its record cannot be used.
            UnknownNameError: If it has no such state.
        """
        if name is None and (newest := self.newest()) is not None:
            return newest
        paths = {path.stem: path for path in self._earlier.glob("[!.]*.json")}
        if name in paths:  # also where the newest cannot be read any more
            return _parsed(paths[name])
        newest = self.newest()
        if newest is None:
            why = "no backup.json in it" if self.path.is_dir() else "no such folder"
            if self._progress.is_file():
                why = "its first run was stopped; run the same `locatlas backup` again"
            raise InputError(f"{self.path}: not a backup ({why})")
        if name != newest.name:
            raise UnknownNameError("state", str(name), {newest.name, *paths})
        return newest

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
            mine = {self._progress.name, "files", "earlier", ".lock"}
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
        before = self.newest()
        if before is not None:
            write_atomically(self._earlier / f"{before.name}.json", before.to_json().encode())
        write_atomically(self.record_path, record.to_json().encode())
        return self.prune(keep=keep)

    def prune(self, *, keep: int) -> int:
        """Forget states before the last `keep`, and delete what no state needs; how many bytes that were."""
        earlier = self.earlier()
        for record in earlier[keep:]:
            (self._earlier / f"{record.name}.json").unlink(missing_ok=True)
        kept = [record for record in (self.newest(), *earlier[:keep]) if record is not None]
        self._progress.unlink(missing_ok=True)
        return self.held.remove_others(file.digest for record in kept for file in record.files)


def _parsed(path: Path) -> BackupRecord:
    return BackupRecord.from_json(path.read_text(encoding="utf-8", errors="replace"), where=str(path))
