"""Copy one state of an atlas to whoever holds files by their digest: a backup, or an object store. I/O."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, Protocol

from locatlas.errors import StoreDamagedError
from locatlas.indexer.backup.pin import MovedError, Needed, Pin, files_of_table, pin
from locatlas.indexer.backup.record import BackedFile, BackedTable, BackupRecord, in_order, now, program_version
from locatlas.indexer.store.digest_lines import Attested, parse
from locatlas.indexer.store.digests import head_of, is_cut
from locatlas.indexer.store.lance_files import newest_manifest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["Copying", "Holder", "Progress"]

Progress = Callable[[str, int, int], None]


class Holder(Protocol):
    """Holds files by the digest of their bytes."""

    def has(self, digest: str, size: int) -> bool:
        """Whether a file of this digest and size is there."""

    def put(self, source: Path | bytes) -> tuple[int, str, bool]:
        """Take a file in; its size, its digest, and whether it was not there already."""

    def make_room(self, n_bytes: int) -> None:
        """Refuse, by an InputError, what it has no room for."""


class _ChangedError(Exception):
    """A file whose bytes are not those whose digest was taken when they were written."""


class Copying:
    """One try to copy one state.

    Attributes:
        copied_files: That were not there before.
        copied_bytes: Of these.
    """

    def __init__(
        self,
        folder: AtlasFolder,
        holder: Holder,
        *,
        with_indices: bool,
        before: BackupRecord | None,
        known: Mapping[str, BackedFile],
        copied: Callable[[BackedFile], None] = lambda _: None,
        progress: Progress | None = None,
    ) -> None:
        """Prepare a copy; nothing is read yet.

        Args:
            folder: The atlas.
            holder: Takes its files.
            with_indices: Also FAISS files.
            before: The state that was copied last, for messages.
            known: Files that were copied before, by path.
            copied: Told of each file that is taken in.
            progress: Told of bytes.
        """
        self.folder, self.holder, self.with_indices, self.progress = folder, holder, with_indices, progress
        self.before, self.known, self.copied = before, known, copied
        self.copied_files = self.copied_bytes = 0
        self._attested: dict[str, Attested] = {}

    def record(self, number: int, check: Callable[[], None] = lambda: None) -> BackupRecord:
        """Copy what is new of the state in which the atlas is now, and describe that state.

        Args:
            number: Of the record.
            check: Called once it is known what is to be copied.

        Raises:
            MovedError: If the atlas went on, and files of the state are gone: take a newer one.
            StoreDamagedError: If a file is missing or not what was written.
            OSError: If something cannot be read or written.
        """
        state = pin(self.folder, with_indices=self.with_indices)
        tables: dict[str, BackedTable] = {}
        needed: list[tuple[Needed, str]] = []
        for table, manifest in state.manifests.items():
            version, rows, of_table = files_of_table(self.folder, table, manifest)
            tables[table] = BackedTable(version, rows)
            needed += [(file, table) for file in of_table]
        check()
        files = self._copy(state, needed)
        return BackupRecord(
            at=now(),
            locatlas=program_version(),
            atlas=str(self.folder.path),
            schema_version=json.loads(state.small["atlas.json"])["schema_version"],
            with_indices=self.with_indices,
            tables=tables,
            files=in_order(files),
            number=number,
        )

    def _copy(self, state: Pin, needed: list[tuple[Needed, str]]) -> list[BackedFile]:
        """Take in what the backup does not hold."""
        self._attested = self._attested_files(state)
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
        self.holder.make_room(total)
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
        attested = self._attested.get(known.path)
        right = attested is None or attested.digest == known.digest
        return right and known.size == size and self.holder.has(known.digest, size)

    def _attested_files(self, state: Pin) -> dict[str, Attested]:
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
        size, digest, new = self.holder.put(source)
        file = BackedFile(path, size, digest)
        attested = self._attested.get(path)
        if attested is not None and attested.digest != digest:
            raise _ChangedError  # before it counts as copied
        if new:
            self.copied_files += 1
            self.copied_bytes += size
            self.copied(file)
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
