"""Which versions of tables the states that were kept before upgrades need, and how such a state is given up. I/O.

What is kept before an upgrade names data files and leaves them where they are: it is worth something only for as long
as the versions that it names are there.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

from locatlas.errors import InputError
from locatlas.indexer.backup.states import BackupFolder
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["give_up", "versions_needed"]


def versions_needed(folder: AtlasFolder) -> dict[str, frozenset[int]]:
    """Versions, by table, without which `restore` could not give back what was kept before upgrades.

    Args:
        folder: The atlas.

    Raises:
        InputError: If a record cannot be read: nobody knows then what it needs.
    """
    needed: dict[str, set[int]] = {}
    for path in _folders(folder):
        for table, version in (_read(path) or {}).items():
            needed.setdefault(table, set()).add(version)
    return {table: frozenset(versions) for table, versions in needed.items()}


def give_up(folder: AtlasFolder, table: str, versions: Collection[int] | None) -> list[str]:
    """Delete kept states that need a version that is about to be removed, so that none is left that only seems whole.

    States without a record that can be read, which nothing could give back, go as well. The writer lock is held.

    Args:
        folder: The atlas.
        table: A table.
        versions: Those of its versions that are about to be removed; None for all.

    Returns:
        The folders that were deleted, below the atlas.

    Raises:
        OSError: If one cannot be deleted.
    """
    gone = []
    for path in _folders(folder):
        try:
            named = _read(path)
        except InputError:
            named = None
        if named is None or (table in named and (versions is None or named[table] in versions)):
            BackupFolder(path).record_path.unlink(missing_ok=True)  # the first, so that a kill leaves no half of it
            shutil.rmtree(path)
            gone.append(path.relative_to(folder.path).as_posix())
    if gone and not any(_top(folder).iterdir()):
        _top(folder).rmdir()
    return gone


def _top(folder: AtlasFolder) -> Path:
    return folder.path / "before-upgrade"


def _folders(folder: AtlasFolder) -> list[Path]:
    return sorted(path for path in _top(folder).glob("schema-*") if path.is_dir())


def _read(path: Path) -> dict[str, int] | None:
    """The version of each table that a kept state names; None where it has no record, as a kill leaves it."""
    record = BackupFolder(path).newest()
    return None if record is None else {name: table.version for name, table in record.tables.items()}
