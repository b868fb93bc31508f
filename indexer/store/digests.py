"""Digests of the files of an atlas: taken after every commit, kept in a journal that is only appended to. I/O.

Lance checks no checksums: a flipped bit of a data file is another number. Its files never change once they are
committed, though, so whoever commits takes their digests before the writer lock is given up. Files reach the disk
before the line that names them, and the line before the length of the journal that `head.json` vouches for: whatever a
kill leaves is known for what it is. A file without a digest was written by a process that died; the next writer takes
it in and says so.
"""

import datetime as dt
import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from locatlas.indexer.store.atomic import write_atomically
from locatlas.indexer.store.digest_lines import (
    Attested,
    Journal,
    file_line,
    journal_bytes,
    parse,
    removal_line,
    sealed,
    unsealed,
)
from locatlas.indexer.store.file_digest import file_digest, sync_folder
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["Digests", "committed_files", "head_of", "is_cut", "read_head", "read_journal"]

logger = logging.getLogger(__name__)

TELL_FROM_BYTES = 1 << 30
"""Bytes without a digest from which on it is said that they are read now."""

_KINDS = {
    "data": (".lance",),
    "_versions": (".manifest",),
    "_transactions": (".txn",),
    "_deletions": (".arrow", ".bin"),
}
"""Folders of a Lance table whose files never change, and their endings; others are temporary, or a mere hint."""


def committed_files(folder: AtlasFolder, table: str) -> Iterator[tuple[str, Path]]:
    """Path below the atlas, and path, of each file of a table that never changes; in no order."""
    below = f"db/{table}.lance"
    for part, endings in _KINDS.items():
        try:
            with os.scandir(folder.path / below / part) as entries:
                names = [entry.name for entry in entries]
        except FileNotFoundError:
            continue
        for name in names:
            if name.endswith(endings) and not name.startswith("."):
                yield f"{below}/{part}/{name}", folder.path / below / part / name


def read_journal(folder: AtlasFolder) -> Journal | None:
    """The journal of an atlas; None if it has none."""
    try:
        return parse(folder.journal_path.read_bytes())
    except FileNotFoundError:
        return None


def read_head(folder: AtlasFolder) -> tuple[int, int] | None:
    """Generation, and bytes that the journal has at least, as `head.json` says; None where it is missing or damaged."""
    try:
        return head_of(folder.head_path.read_bytes())
    except FileNotFoundError:
        return None


def head_of(data: bytes) -> tuple[int, int] | None:
    """What the bytes of `head.json` say; None if they are damaged."""
    fields = unsealed(data)
    return None if fields is None else (fields["generation"], fields["bytes"])


def is_cut(journal: Journal, head: tuple[int, int] | None) -> bool:
    """Whether a journal is shorter, or older, than its head says it is at least."""
    return head is not None and head > (journal.generation, journal.whole)


class Digests:
    """The journal of one atlas, for a writer: the writer lock is held whenever a method is called.

    What was read of it is kept, and only what others appended since is read again.
    """

    def __init__(self, folder: AtlasFolder) -> None:
        self._folder = folder
        self._journal: Journal | None = None
        self._declared = False

    def take(self, tables: Sequence[str], *, late: bool = False, anew: bool = False) -> int:
        """Take the digests of files that have none.

        The first time in an atlas, all of its tables are gone through, whichever are named.

        Args:
            tables: Names of tables.
            late: Whether somebody else wrote what is new, and died.
            anew: Whether a journal that was lost may be begun again of what is there now, as a repair does.

        Returns:
            Files that had none.

        Raises:
            OSError: If they cannot be read, or the journal not be written.
        """
        journal = self._read()
        if journal is None:
            if "digests_since" in self._folder.info() and not anew:
                # to take them anew of what is there now would call good whatever was damaged before
                told = "%s: is gone, and no digests are taken; `locatlas verify --atlas %s` says what to do"
                logger.warning(told, self._folder.journal_path, shlex.quote(str(self._folder.path)))
                return 0
            return self._begin()
        whole = self._is_whole(journal)
        if late and not whole:
            told = "%s: it, or its length, is damaged; `locatlas verify --atlas %s` says how, and goes on saying so"
            logger.warning(told, self._folder.journal_path, shlex.quote(str(self._folder.path)))
        if late and journal.removing and whole:
            self.settle()  # somebody died while deleting
            return self.take(tables, late=True)
        new = [(name, path) for table in tables for name, path in committed_files(self._folder, table)]
        new = [(name, path) for name, path in new if name not in journal.files or journal.is_removing(name)]
        if new:
            taken = _attest(new, late=late)
            self._append(b"".join(map(file_line, taken)))
        self._declare(journal)
        return len(new)

    @contextmanager
    def removing(self, paths: Sequence[str]) -> Iterator[None]:
        """Delete files in the block: said beforehand, so that one that is missing is not taken for damage.

        A journal of which lines are damaged or missing stays as it is, so that `verify` goes on saying so.

        Args:
            paths: Below the atlas; a folder with a slash at its end.
        """
        if (journal := self._read()) is None:
            yield
            return
        now, whole = _now(), self._is_whole(journal)
        self._append(b"".join(removal_line(path, now) for path in paths))
        yield
        if whole:
            self.settle()

    def settle(self) -> None:
        """Write the journal anew without damaged lines, and without files that were to be deleted and are gone."""
        if (journal := self._read()) is None:
            return
        gone = [p for p in journal.files if journal.is_removing(p) and not (self._folder.path / p).exists()]
        self.rewrite(journal, without=gone)

    def rewrite(self, journal: Journal, *, without: Iterable[str] = ()) -> None:
        """Write a journal in place of the one that is there.

        Args:
            journal: What it is to say; its damaged lines and begun deletions are left out. That lines were damaged or
                missing stays said.
            without: Paths of files that it is not to name.
        """
        left_out = set(without)
        files = [file for path, file in journal.files.items() if path not in left_out]
        head = read_head(self._folder)
        generation = max(journal.generation, head[0] if head else 0) + 1
        since, again = journal.since or _now(), journal.begun_again or bool(journal.bad) or is_cut(journal, head)
        self._replace(journal_bytes(generation, since, files, begun_again=again), generation)

    def _is_whole(self, journal: Journal) -> bool:
        """Whether all lines of the journal are there and what was written, as far as can be known."""
        head = read_head(self._folder)
        return not journal.bad and head is not None and not is_cut(journal, head)

    def _read(self) -> Journal | None:
        try:
            with self._folder.journal_path.open("rb") as f:
                size, known = os.fstat(f.fileno()).st_size, self._journal
                # the first line tells one journal from the next: a file's number is given again once it is replaced
                first = parse(f.readline())
                same = known is not None and 0 < known.generation == first.generation and known.since == first.since
                if known is None or not same or size < known.whole:
                    f.seek(0)
                    self._journal = parse(f.read())
                elif size > known.whole:
                    f.seek(known.whole)
                    parse(f.read(), into=known)
        except FileNotFoundError:
            self._journal = None
        return self._journal

    def _begin(self) -> int:
        """Take the digests of all tables and write the first journal of the atlas."""
        lost = "digests_since" in self._folder.info()
        names = [path.stem for path in self._folder.db.glob("*.lance")]
        files = _attest([f for name in names for f in committed_files(self._folder, name)], late=False)
        head = read_head(self._folder)
        generation = head[0] + 1 if head else 1
        since = _now()
        if head is None:
            self._vouch(generation, 0)  # a journal without a head would be damage
        self._replace(journal_bytes(generation, since, files, begun_again=lost), generation)
        if lost:
            logger.warning("%s: was lost; digests were taken anew of what is there now", self._folder.journal_path)
        self.declare()
        return len(files)

    def declare(self) -> None:
        """Let `atlas.json` say that there is a journal, so that a lost one is missed."""
        if (journal := self._read()) is not None:
            self._declared = False
            self._declare(journal)

    def _declare(self, journal: Journal) -> None:
        if not self._declared:
            info = self._folder.info()
            if info.get("digests_since") != journal.since and journal.since:
                self._folder.write_info({**info, "digests_since": journal.since})
            self._declared = True

    def _append(self, lines: bytes) -> None:
        """Write lines at the end. A head that is damaged, or that misses lines, is left to say so."""
        journal, head = self._journal, read_head(self._folder)
        assert journal is not None
        cut = is_cut(journal, head)
        if cut and head is not None and head[0] == journal.generation:
            self._vouch(journal.generation, head[1] + len(lines))  # as many bytes are missing afterwards
        with self._folder.journal_path.open("r+b") as f:
            f.truncate(journal.whole)  # what was torn when somebody died
            f.seek(0, os.SEEK_END)
            f.write(lines)
            f.flush()
            os.fsync(f.fileno())
        parse(lines, into=journal)
        if head is not None and not cut:
            self._vouch(journal.generation, journal.whole)

    def _replace(self, data: bytes, generation: int) -> None:
        write_atomically(self._folder.journal_path, data)
        self._journal = None
        self._vouch(generation, len(data))

    def _vouch(self, generation: int, n_bytes: int) -> None:
        write_atomically(self._folder.head_path, sealed({"bytes": n_bytes, "generation": generation}))


def _attest(files: Sequence[tuple[str, Path]], *, late: bool) -> list[Attested]:
    """Digests of files, in the order of their names, once they and their folders are on disk."""
    files = sorted(files)
    total = sum(path.stat().st_size for _, path in files)
    if total >= TELL_FROM_BYTES:
        logger.warning("taking the digests of %.1f GB", total / 1e9)
    now, taken = _now(), []
    for name, path in files:
        size, digest = file_digest(path, to_disk=True)
        taken.append(Attested(name, size, digest, now, late))
    for folder in {path.parent for _, path in files}:
        sync_folder(folder)
    return taken


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
