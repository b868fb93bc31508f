"""Give an atlas, or one table of it, back from a backup: every digest is compared before anything appears. I/O."""

import logging
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from locatlas.errors import InputError, StoreDamagedError, UnknownNameError
from locatlas.indexer.backup.check import (
    CHANGED,
    MISSING,
    BadFile,
    bad_files,
    damaged,
    is_before_upgrade,
    set_aside,
    source_of,
)
from locatlas.indexer.backup.files import copy_hashed, open_regular
from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.backup.states import BackupFolder
from locatlas.indexer.store.digests import Digests, read_journal
from locatlas.indexer.store.disk import SPARE_BYTES, require_space
from locatlas.indexer.store.file_digest import sync_folder
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["RestoreSummary", "check_backup", "restore", "settle_digests", "states", "try_out"]

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSummary:
    """What `restore` did, or found.

    Attributes:
        backup: The backup.
        state: Name of the state.
        at: When that was taken, ISO 8601 in UTC.
        path: What was restored; None where the backup was only checked.
        files: That were read and compared.
        bytes: Of these.
        tables: Rows by table.
        schema_version: Of the atlas.
        missing_roots: Declared folders of images that are not here, by name.
    """

    backup: str
    state: str
    at: str
    path: str | None
    files: int
    bytes: int
    tables: dict[str, int]
    schema_version: int
    missing_roots: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `restore`."""
        return asdict(self)


def states(backup: str | Path) -> list[BackupRecord]:
    """The states that a backup holds, the newest first; those whose record cannot be used are told and passed over.

    Raises:
        InputError: If it is no backup, or no record can be used.
    """
    folder = BackupFolder(Path(backup))
    found = folder.states()
    if not found.records:
        return [folder.state(None)]
    for why in found.unreadable.values():
        logger.warning("%s; this state is not listed", why)
    return found.records


def check_backup(backup: str | Path, *, state: str | None = None, progress: Progress | None = None) -> RestoreSummary:
    """Read a whole state of a backup and compare every digest.

    Nothing is written, but for files that hold other bytes than were copied: they are renamed, if that can be done, so
    that the next backup copies them again.

    Raises:
        InputError: If it is no backup, or its record cannot be used.
        UnknownNameError: If it has no such state.
        StoreDamagedError: If a file is missing or not what was copied; says how many.
    """
    folder = BackupFolder(Path(backup))
    record = folder.state(state)
    if bad := bad_files(folder, record, progress=progress):
        said = damaged(folder, record, bad)
        raise StoreDamagedError(said if is_before_upgrade(folder) else f"{said}; {set_aside(folder, record, bad)}")
    return _summary(folder, record, None, record.files, dict(record.tables), {})


def restore(
    backup: str | Path,
    *,
    to: str | Path,
    state: str | None = None,
    table: str | None = None,
    progress: Progress | None = None,
) -> RestoreSummary:
    """Make an atlas again as it was.

    It is put together under a temporary name beside `to`, with every digest compared on the way, and renamed at the
    end: what is called `to` is whole. A FAISS index that is not in the backup is made by the next command that needs
    one.

    Args:
        backup: Folder of the backup.
        to: Absent, or an empty folder.
        state: Name of a state; None for the newest.
        table: Restore this one aside, as `to`/<table>.lance, and no atlas.
        progress: Told of bytes.

    Raises:
        InputError: If it is no backup or its record cannot be used, or `to` holds something, cannot be written or is
            full.
        UnknownNameError: If it has no such state or table.
        StoreDamagedError: If a file is missing or not what was copied.
    """
    folder = BackupFolder(Path(backup))
    record = folder.state(state)
    files = record.files
    tables = dict(record.tables)
    strip = ""
    if table is not None:
        if table not in record.tables:
            raise UnknownNameError("table", table, record.tables)
        strip, tables = "db/", {table: record.tables[table]}
        files = tuple(file for file in files if file.path.startswith(f"db/{table}.lance/"))
    target = Path(to).expanduser().absolute()
    _require_absent(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        require_space(target.parent, sum(file.size for file in files), spare=SPARE_BYTES)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.restoring-", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    try:
        _fill(folder, record, files, staging, strip, progress)
        settle_digests(AtlasFolder(staging), before_upgrade=table is None and is_before_upgrade(folder))
        try_out(staging / ("db" if table is None else ""), {name: t.version for name, t in tables.items()}, record)
        staging.chmod(0o777 & ~_umask())
        _require_absent(target)
        staging.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, StoreDamagedError):
            raise
        raise InputError(f"{error.filename or target}: {error.strerror or error}; nothing was restored") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # renamed, or half
    missing = {} if table is not None else _missing_roots(AtlasFolder(target))
    return _summary(folder, record, target, files, tables, missing)


def _fill(
    folder: BackupFolder,
    record: BackupRecord,
    files: tuple[BackedFile, ...],
    staging: Path,
    strip: str,
    progress: Progress | None,
) -> None:
    total, done, parents = sum(file.size for file in files), 0, {staging}
    for file in files:
        path, source = staging / file.path.removeprefix(strip), source_of(folder, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        parents |= {parent for parent in path.parents if parent.is_relative_to(staging)}
        try:
            f = open_regular(source)
        except FileNotFoundError:
            raise StoreDamagedError(_bad(folder, record, BadFile(file, source, MISSING))) from None
        except OSError as error:
            how = error.strerror or str(error)
            raise StoreDamagedError(_bad(folder, record, BadFile(file, source, how))) from None
        with f:
            is_right = os.fstat(f.fileno()).st_size == file.size
            if is_right:  # else nothing of it is copied: there is room for what was recorded only
                size, digest = copy_hashed(f, path, at_most=file.size + 1)
                is_right = size == file.size and digest == (file.digest or digest)
        if not is_right:
            raise StoreDamagedError(_bad(folder, record, BadFile(file, source, CHANGED)))
        done += file.size
        if progress:
            progress("restoring", done, total)
    for parent in parents:
        sync_folder(parent)


def settle_digests(atlas: AtlasFolder, *, before_upgrade: bool) -> None:
    """Let the journal of digests name the files that are there: older versions of tables are not in a backup.

    An upgrade keeps no journal: what it kept is an atlas without digests, and is not to say that it has some.
    """
    journal = read_journal(atlas)
    if journal is not None:
        Digests(atlas).rewrite(journal, without=[name for name in journal.files if not (atlas.path / name).exists()])
    elif before_upgrade and "digests_since" in (info := atlas.info()):
        atlas.write_info({key: value for key, value in info.items() if key != "digests_since"})


def try_out(db: Path, expected: dict[str, int], record: BackupRecord) -> None:
    """Tables open at the version and with the rows that were copied."""
    os.environ.setdefault("LANCE_LOG", "error")
    import lance

    for name, version in expected.items():
        try:
            dataset: Any = lance.dataset(str(db / f"{name}.lance"))
            found = (int(dataset.version), int(dataset.count_rows()))
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise StoreDamagedError(
                f"{name}: cannot be opened once restored ({first}); nothing was restored"
            ) from error
        if found != (version, record.tables[name].rows):
            message = f"{name}: has version and rows {found} once restored, not {(version, record.tables[name].rows)}"
            raise StoreDamagedError(f"{message}; nothing was restored")


def _require_absent(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"{target}: is there already; name a folder that is not")
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"{target}: is there already, and not empty; nothing is written over")


def _bad(folder: BackupFolder, record: BackupRecord, bad: BadFile) -> str:
    said = damaged(folder, record, [bad])
    if is_before_upgrade(folder):
        return said
    check = f"`locatlas restore {shlex.quote(str(folder.path))} --state {record.name} --check`"
    return f"{said}; {check} finds all that is bad, and says how it is copied again"


def _missing_roots(atlas: AtlasFolder) -> dict[str, str]:
    roots = atlas.info()["roots"]
    return {name: path for name, path in sorted(roots.items()) if not Path(path).is_dir()}


def _summary(
    folder: BackupFolder,
    record: BackupRecord,
    target: Path | None,
    files: tuple[BackedFile, ...],
    tables: dict[str, Any],
    missing_roots: dict[str, str],
) -> RestoreSummary:
    return RestoreSummary(
        backup=str(folder.path),
        state=record.name,
        at=record.at,
        path=None if target is None else str(target),
        files=len(files),
        bytes=sum(file.size for file in files),
        tables={name: table.rows for name, table in tables.items()},
        schema_version=record.schema_version,
        missing_roots=missing_roots,
    )


def _umask() -> int:
    """The process' mask for new files, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
