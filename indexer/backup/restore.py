"""Give an atlas, or one table of it, back from a backup: every digest is compared before anything appears. I/O."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from locatlas.errors import InputError, StoreDamagedError, UnknownNameError
from locatlas.indexer.backup.before_upgrade import BEFORE_UPGRADE
from locatlas.indexer.backup.files import copy_hashed
from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.backup.states import BackupFolder
from locatlas.indexer.digests import Digests, read_journal
from locatlas.indexer.disk import SPARE_BYTES, require_space
from locatlas.indexer.file_digest import file_digest, sync_folder
from locatlas.indexer.layout import AtlasFolder

__all__ = ["RestoreSummary", "check_backup", "restore", "states"]

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
    """The states that a backup holds, the newest first.

    Raises:
        InputError: If it is no backup, or a record cannot be used.
    """
    folder = BackupFolder(Path(backup))
    return [folder.state(None), *folder.earlier()]


def check_backup(backup: str | Path, *, state: str | None = None, progress: Progress | None = None) -> RestoreSummary:
    """Read a whole state of a backup and compare every digest; nothing is written.

    Raises:
        InputError: If it is no backup, or its record cannot be used.
        UnknownNameError: If it has no such state.
        StoreDamagedError: If a file is missing or not what was copied; says how many.
    """
    folder = BackupFolder(Path(backup))
    record = folder.state(state)
    bad, done = [], 0
    for file in record.files:
        path = _source(folder, file)
        try:
            found = file_digest(path)
        except OSError as error:
            found = (-1, error.strerror or str(error))
        if found[0] != file.size or (file.digest and found[1] != file.digest):
            bad.append((file, path))
        done += file.size
        if progress:
            progress("checking", done, record.bytes)
    if bad:
        raise StoreDamagedError(_damaged(folder, record, bad))
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
        _settle_digests(AtlasFolder(staging), before_upgrade=table is None and _is_before_upgrade(folder))
        _try_out(staging / ("db" if table is None else ""), {name: t.version for name, t in tables.items()}, record)
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
        path, source = staging / file.path.removeprefix(strip), _source(folder, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        parents |= {parent for parent in path.parents if parent.is_relative_to(staging)}
        try:
            f = source.open("rb", buffering=0)
        except OSError:
            raise StoreDamagedError(_damaged(folder, record, [(file, source)])) from None
        with f:
            size, digest = copy_hashed(f, path)
        if size != file.size or (file.digest and digest != file.digest):
            raise StoreDamagedError(_damaged(folder, record, [(file, source)]))
        done += size
        if progress:
            progress("restoring", done, total)
    for parent in parents:
        sync_folder(parent)


def _settle_digests(atlas: AtlasFolder, *, before_upgrade: bool) -> None:
    """Let the journal of digests name the files that are there: older versions of tables are not in a backup.

    An upgrade keeps no journal: what it kept is an atlas without digests, and is not to say that it has some.
    """
    journal = read_journal(atlas)
    if journal is not None:
        Digests(atlas).rewrite(journal, without=[name for name in journal.files if not (atlas.path / name).exists()])
    elif before_upgrade and "digests_since" in (info := atlas.info()):
        atlas.write_info({key: value for key, value in info.items() if key != "digests_since"})


def _try_out(db: Path, expected: dict[str, int], record: BackupRecord) -> None:
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


def _source(folder: BackupFolder, file: BackedFile) -> Path:
    """Where the bytes of a file lie: those of tables before an upgrade were left in the atlas, two folders up.

    Raises:
        InputError: If another record has a file without a digest: it would be read from anywhere.
    """
    if not file.digest and not (_is_before_upgrade(folder) and file.path.startswith("db/")):
        message = f"{folder.path}: {file.path} has no digest in its record, which no backup has; nothing was restored"
        raise InputError(message)
    return folder.held.path(file.digest) if file.digest else folder.path.parents[1] / file.path


def _is_before_upgrade(folder: BackupFolder) -> bool:
    """Whether this was kept in an atlas by an upgrade."""
    return folder.path.parent.name == BEFORE_UPGRADE


def _require_absent(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"{target}: is there already; name a folder that is not")
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"{target}: is there already, and not empty; nothing is written over")


def _damaged(folder: BackupFolder, record: BackupRecord, bad: list[tuple[BackedFile, Path]]) -> str:
    file, path = bad[0]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    others = [other.name for other in (folder.newest(), *folder.earlier()) if other and other.at != record.at]
    advice = f"try another state with --state: {', '.join(others)}" if others else "it has no other state"
    what = "is missing or not what was copied" if not more else "are missing or not what was copied"
    return f"{path}: {file.path}{more} {what}; nothing was restored, {advice}"


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
