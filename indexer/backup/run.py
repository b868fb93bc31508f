"""Back an atlas up: pin a state, copy what is new of it, write its record last. I/O."""

import json
import logging
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from locatlas.errors import AtlasLockedError, InputError, LocatlasError, StoreDamagedError
from locatlas.indexer.backup.pin import MovedError, Needed, Pin, files_of_table, pin
from locatlas.indexer.backup.record import BackedFile, BackedTable, BackupRecord, in_order, now, program_version
from locatlas.indexer.backup.states import BackupFolder
from locatlas.indexer.store.digest_lines import Attested, parse
from locatlas.indexer.store.digests import head_of, is_cut
from locatlas.indexer.store.disk import SPARE_BYTES, require_space
from locatlas.indexer.store.lance_files import newest_manifest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["BackupSummary", "backup"]

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

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


class _ChangedError(Exception):
    """A file whose bytes are not those whose digest was taken when they were written."""


class _Run:
    """One try to copy one state."""

    def __init__(
        self, folder: AtlasFolder, target: BackupFolder, *, with_indices: bool, progress: Progress | None
    ) -> None:
        self.folder, self.target, self.with_indices, self.progress = folder, target, with_indices, progress
        found = target.states()
        self.before = found.records[0] if found.records else None
        self.is_newest_there = target.record_path.is_file() and target.record_path not in found.unreadable
        self.number = max((record.number for record in found.records), default=0) + 1
        self.known = {file.path: file for record in reversed(found.records) for file in record.files}
        self.known |= {file.path: file for file in target.progress()}
        self.copied_files = self.copied_bytes = 0
        self.attested: dict[str, Attested] = {}

    def run(self, keep: int) -> BackupSummary:
        state = pin(self.folder, with_indices=self.with_indices)
        tables: dict[str, BackedTable] = {}
        needed: list[tuple[Needed, str]] = []
        for table, manifest in state.manifests.items():
            version, rows, of_table = files_of_table(self.folder, table, manifest)
            tables[table] = BackedTable(version, rows)
            needed += [(file, table) for file in of_table]
        self._check_same_atlas()
        files = self._copy(state, needed)
        record = BackupRecord(
            at=now(),
            locatlas=program_version(),
            atlas=str(self.folder.path),
            schema_version=json.loads(state.small["atlas.json"])["schema_version"],
            with_indices=self.with_indices,
            tables=tables,
            files=in_order(files),
            number=self.number,
        )
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
            copied_files=self.copied_files,
            copied_bytes=self.copied_bytes,
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

    def _copy(self, state: Pin, needed: list[tuple[Needed, str]]) -> list[BackedFile]:
        """Take in what the backup does not hold."""
        self.attested = self._attested(state)
        done = [self._put(path, data) for path, data in state.small.items()]
        todo: list[tuple[Needed, str, int]] = []
        for file, table in needed:
            size = self._size(file, table, state)
            known = self.known.get(file.path)
            if file.unique and known is not None and self._is_held(known, size):
                done.append(known)
            else:
                todo.append((file, table, size))
        total = sum(size for *_, size in todo) + sum(size for size, *_ in state.large.values())
        require_space(self.target.path, total, spare=SPARE_BYTES)
        at = 0
        for file, table, size in todo:
            try:
                copied = self._put(file.path, self.folder.path / file.path)
            except _ChangedError:
                self._gone(file.path, table, state, "other bytes than were written")
            except FileNotFoundError:
                self._gone(file.path, table, state)
            if copied.size != size:
                self._gone(file.path, table, state, f"{copied.size} bytes instead of {size}")
            done.append(copied)
            at += size
            if self.progress:
                self.progress("copying", at, total)
        return done + [self._put_large(path, told) for path, told in state.large.items()]

    def _is_held(self, known: BackedFile, size: int) -> bool:
        """Whether the backup holds a file of this size, and the bytes that were written, if that is known."""
        attested = self.attested.get(known.path)
        right = attested is None or attested.digest == known.digest
        return right and known.size == size and self.target.held.has(known.digest, size)

    def _attested(self, state: Pin) -> dict[str, Attested]:
        """Files of tables whose digest was taken when they were written.

        Raises:
            StoreDamagedError: If not all of them are known: other bytes would be copied as good ones.
        """
        name, head_name = (
            path.relative_to(self.folder.path).as_posix() for path in (self.folder.journal_path, self.folder.head_path)
        )
        if name not in state.small:
            if "digests_since" in json.loads(state.small["atlas.json"]):
                self._without_digests(name, "is missing")
            return {}
        journal, head = parse(state.small[name]), head_of(state.small.get(head_name, b""))
        if journal.bad:
            self._without_digests(name, f"line {journal.bad[0]} is not what was written")
        if head is None:
            self._without_digests(head_name, "is missing or damaged")
        if is_cut(journal, head):
            self._without_digests(name, "lines are missing at its end")
        return journal.files

    def _without_digests(self, path: str, how: str) -> NoReturn:
        stays = "nothing was recorded" if self.before is None else f"the state of {self.before.at} stays"
        message = (
            f"{self.folder.path / path}: {how}, so that damage to tables would be copied unseen; {stays}; `locatlas "
            f"verify --atlas {shlex.quote(str(self.folder.path))} --repair` mends it"
        )
        raise StoreDamagedError(message)

    def _put(self, path: str, source: Path | bytes) -> BackedFile:
        size, digest, new = self.target.held.put(source)
        file = BackedFile(path, size, digest)
        attested = self.attested.get(path)
        if attested is not None and attested.digest != digest:
            raise _ChangedError  # before it counts as copied
        if new:
            self.copied_files += 1
            self.copied_bytes += size
            self.target.add_progress(file)
        return file

    def _put_large(self, path: str, told: tuple[int, int, int]) -> BackedFile:
        known, source = self.known.get(path), self.folder.path / path
        try:
            file = self._put(path, source)
            s = source.stat()
        except FileNotFoundError:
            raise MovedError from None
        if (s.st_size, s.st_mtime_ns, s.st_ino) != told or file.size != told[0]:
            raise MovedError
        return known if known == file else file

    def _size(self, file: Needed, table: str, state: Pin) -> int:
        """Size of a file, which must be there."""
        try:
            size = (self.folder.path / file.path).stat().st_size
        except FileNotFoundError:
            self._gone(file.path, table, state)
        if file.size is not None and size != file.size:
            self._gone(file.path, table, state, f"{size} bytes instead of {file.size}")
        return size

    def _gone(self, path: str, table: str, state: Pin, how: str = "missing") -> NoReturn:
        if newest_manifest(self.folder.db / f"{table}.lance") != state.manifests[table]:
            raise MovedError
        stays = "nothing was recorded"
        if self.before is not None:
            stays = f"the state of {self.before.at} stays, and `locatlas restore --table {table}` gives the table back"
        message = (
            f"{self.folder.path / path}: {how}, though table {table} needs it: the atlas is damaged (`locatlas verify` "
            f"tells all); {stays}"
        )
        raise StoreDamagedError(message)
