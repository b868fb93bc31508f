"""Back an atlas up: pin a state, copy what is new of it, write its record last. I/O."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from locatlas.errors import AtlasLockedError, InputError, LocatlasError
from locatlas.indexer.backup.copying import Copying, Progress
from locatlas.indexer.backup.pin import MovedError
from locatlas.indexer.backup.record import BackupRecord
from locatlas.indexer.backup.states import BackupFolder
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["BackupSummary", "backup"]

logger = logging.getLogger(__name__)

KEEP = 3
"""Earlier states that are kept: what was pruned or imported by mistake is noticed after the next backup, or the one
after that."""

_TRIES = 20
"""States that may go away while they are copied. Versions are removed by `maintain` and by long
runs, tables by `maintain`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSummary:
    """What `backup` did.

    Attributes:
        path: The backup.
        state: Name of its newest state.
        at: When that was taken, ISO 8601 in UTC.
        new: Whether it was taken now; else the atlas is as it was then.
        files: In the state.
        bytes: Of these.
        copied_files: That were not in the backup before.
        copied_bytes: Of these.
        freed_bytes: Of files that only states needed which are not kept any more.
        tables: Rows by table.
        states: That can be restored, the newest first.
    """

    path: str
    state: str
    at: str
    new: bool
    files: int
    bytes: int
    copied_files: int
    copied_bytes: int
    freed_bytes: int
    tables: dict[str, int]
    states: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `backup`."""
        return asdict(self)


def backup(
    *,
    atlas: str | Path,
    to: str | Path,
    with_indices: bool = False,
    keep: int = KEEP,
    progress: Progress | None = None,
) -> BackupSummary:
    """Copy an atlas, at one moment of it, while others read it and write to it.

    Nothing is written to the atlas and no lock of it is taken. An atlas of an older schema version is copied as it is.
    Images, and the weights of encoders, lie elsewhere and are no part of it.

    Args:
        atlas: Atlas folder.
        to: Folder of the backup: absent, empty, or the backup of this atlas, to which what is new is added.
        with_indices: Also FAISS files, which can always be made again.
        keep: Earlier states of the backup that stay.
        progress: Told of bytes that are copied.

    Raises:
        InputError: If there is no atlas, or `to` lies in it, holds other things or another atlas' backup, cannot be
            written, or is full; the state before stays.
        StoreDamagedError: If a file of the atlas is missing or of another size than it must have.
        AtlasLockedError: If another backup is written there, or the atlas is written to without a pause.
    """
    folder, target = AtlasFolder.open(Path(atlas)), BackupFolder(Path(to))
    if target.path.is_relative_to(folder.path):
        message = f"{to}: lies in the atlas that is to be copied; name a folder elsewhere, best on another disk"
        raise InputError(message)
    with target.writing():
        for path, why in target.states().unreadable.items():
            if path != target.record_path:  # that is moved, and told, when there is a new one
                logger.warning("%s; nothing is deleted from the backup until that record is", why)
        try:
            for _ in range(_TRIES):
                try:
                    return _Run(folder, target, with_indices=with_indices, progress=progress).run(keep)
                except MovedError:
                    continue
        except LocatlasError:
            raise
        except OSError as error:
            message = f"{error.filename or target.path}: {error.strerror or error}; the same command goes on later"
            raise InputError(message) from error
    message = f"{folder.path}: what was to be copied was cleaned up meanwhile, {_TRIES} times; make the backup later"
    raise AtlasLockedError(message)


class _Run:
    """One try to copy one state."""

    def __init__(
        self, folder: AtlasFolder, target: BackupFolder, *, with_indices: bool, progress: Progress | None
    ) -> None:
        self.folder, self.target = folder, target
        found = target.states()
        self.before = found.records[0] if found.records else None
        self.is_newest_there = target.record_path.is_file() and target.record_path not in found.unreadable
        self.number = max((record.number for record in found.records), default=0) + 1
        known = {file.path: file for record in reversed(found.records) for file in record.files}
        known |= {file.path: file for file in target.progress()}
        self.copying = Copying(
            folder,
            target.held,
            with_indices=with_indices,
            before=self.before,
            known=known,
            copied=target.add_progress,
            progress=progress,
        )

    def run(self, keep: int) -> BackupSummary:
        record = self.copying.record(self.number, self._check_same_atlas)
        if self.is_newest_there and self.before is not None and record.is_same_state(self.before):
            return self._summary(self.before, self.target.prune(keep=keep), new=False)
        return self._summary(record, self.target.commit(record, keep=keep), new=True)

    def _summary(self, record: BackupRecord, freed: int, *, new: bool) -> BackupSummary:
        return BackupSummary(
            path=str(self.target.path),
            state=record.name,
            at=record.at,
            new=new,
            files=len(record.files),
            bytes=record.bytes,
            copied_files=self.copying.copied_files,
            copied_bytes=self.copying.copied_bytes,
            freed_bytes=freed,
            tables={name: table.rows for name, table in record.tables.items()},
            states=[state.name for state in self.target.states().records],
        )

    def _check_same_atlas(self) -> None:
        """An atlas that was moved still has files that its backup knows; one in the same place may be made anew."""
        before = self.before
        if before is None or before.atlas == str(self.folder.path):
            return
        data = [file.path for file in before.files if "/data/" in file.path]
        if data and not any((self.folder.path / path).exists() for path in data):
            message = f"{self.target.path}: holds the backup of another atlas, {before.atlas}; name another folder"
            raise InputError(message)
