"""What an atlas was before its schema version is raised: kept in the atlas, as a backup of next to no size. I/O.

An upgrade adds versions to tables and replaces `atlas.json`; it deletes nothing. So it is enough to keep `atlas.json`
and the manifests, which say what the tables were: the data files that these name stay where they are. A run that
removes old versions spares those that are named here; `maintain` removes them, and what was kept with them.
"""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from locatlas.errors import InputError
from locatlas.indexer.backup.pin import Needed, files_of_table
from locatlas.indexer.backup.record import BackedFile, BackedTable, BackupRecord, in_order, now, program_version
from locatlas.indexer.backup.states import BackupFolder
from locatlas.indexer.store.lance_files import manifest_version, newest_manifest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["BEFORE_UPGRADE", "keep_before_upgrade"]

BEFORE_UPGRADE = "before-upgrade"
"""Folder in the atlas. Only what lies in one may name files that it does not hold."""


def keep_before_upgrade(folder: AtlasFolder, schema_version: int, *, is_upgraded: Callable[[str], bool]) -> Path:
    """Keep what an atlas is; the writer lock is held. Done again after a kill, it keeps what was before the first try.

    Args:
        folder: The atlas.
        schema_version: Its version.
        is_upgraded: Whether a table has all columns already: a try that was killed has come that far.

    Returns:
        Folder that `restore` takes.

    Raises:
        StoreDamagedError: If a table cannot be opened.
        OSError: If it cannot be written.
    """
    tables = {path.stem: newest_manifest(path) for path in sorted(folder.db.glob("[!.]*.lance"))}
    manifests = {table: manifest for table, manifest in tables.items() if manifest is not None}
    top = folder.path / BEFORE_UPGRADE
    for n in count(1):
        kept = BackupFolder(top / (f"schema-{schema_version}" + (f"-{n}" if n > 1 else "")))
        record = _readable(kept)
        if record is None:
            break
        if _is_of(record, manifests, is_upgraded):
            return kept.path
    files, backed = [_kept(kept, folder, "atlas.json")], dict[str, BackedTable]()
    for table, manifest in manifests.items():
        version, rows, needed = files_of_table(folder, table, manifest)
        backed[table] = BackedTable(version, rows)
        files += [_left(folder, file) if file.unique else _kept(kept, folder, file.path) for file in needed]
    record = BackupRecord(
        at=now(),
        locatlas=program_version(),
        atlas=str(folder.path),
        schema_version=schema_version,
        with_indices=False,
        tables=backed,
        files=in_order(files),
    )
    kept.commit(record, keep=0)
    return kept.path


def _kept(kept: BackupFolder, folder: AtlasFolder, path: str) -> BackedFile:
    """A file of which a copy is kept."""
    size, digest, _ = kept.held.put(folder.path / path)
    return BackedFile(path, size, digest)


def _left(folder: AtlasFolder, file: Needed) -> BackedFile:
    """A file that stays where it is. That it is missing is no reason not to upgrade: `restore` would tell."""
    try:
        size = file.size if file.size is not None else (folder.path / file.path).stat().st_size
    except FileNotFoundError:
        size = 0
    return BackedFile(file.path, size, "")


def _readable(kept: BackupFolder) -> BackupRecord | None:
    try:
        return kept.newest()
    except InputError:  # damaged: it says nothing any more, and is written anew
        kept.record_path.unlink()
        return None


def _is_of(record: BackupRecord, manifests: dict[str, str], is_upgraded: Callable[[str], bool]) -> bool:
    """Whether an atlas is as it was recorded but for tables that were upgraded since."""
    if record.tables.keys() != manifests.keys():
        return False
    return all(
        (now_at := manifest_version(manifests[table])) == then.version
        or (now_at == then.version + 1 and is_upgraded(table))
        for table, then in record.tables.items()
    )
