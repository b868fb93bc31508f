"""Keep the files of a table few while it is written: merge its fragments, remove versions nobody reads. I/O.

A version is removed once it has been superseded for a time, not once it is old: the newest version of a table that was
not written for a week may be open in a reader when the next commit supersedes it.
"""

import datetime as dt
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.backup.kept import versions_needed
from locatlas.indexer.store import tidy_limits
from locatlas.indexer.store.digests import committed_files
from locatlas.indexer.store.lance_files import open_table
from locatlas.interrupts import unbroken

if TYPE_CHECKING:
    from locatlas.indexer.store.ledger import Run
    from locatlas.indexer.store.tables import Store

__all__ = ["FREED", "MERGED", "REMOVED", "old_versions", "remove_versions", "tidy"]

logger = logging.getLogger(__name__)

MERGED, REMOVED, FREED = "tables merged", "old versions removed", "bytes freed"
"""What is counted of it in the ledger."""


def tidy(store: "Store", tables: Iterable[str], run: "Run") -> None:
    """Merge fragments and remove old versions of tables that are above a limit; the writer lock is held.

    What was kept before an upgrade needs versions of that time: these stay, with their files, until `maintain`.

    Args:
        store: The atlas.
        tables: Names; those that do not exist are passed over.
        run: Counts what was done.

    Raises:
        StoreDamagedError: If something cannot be read or written; what was committed stays.
    """
    spared: dict[str, frozenset[int]] | None = None
    known = True
    for table in tables:
        if not store.has(table):
            continue
        before = store.version(table)
        store.compact(table)
        if store.version(table) != before:
            run.counts[MERGED] += 1
        if known and _is_above(_folder(store, table)):
            if spared is None:
                try:
                    spared = versions_needed(store.folder)
                except InputError as error:
                    logger.warning("%s; until it is gone, old versions are removed by `locatlas maintain` only", error)
                    known = False
                    continue
            removed, freed = remove_versions(store, table, old_versions(store, table, spared.get(table, ())))
            if removed:
                run.counts[REMOVED] += removed
                run.counts[FREED] += freed


def old_versions(store: "Store", table: str, spared: Collection[int] = ()) -> list[int]:
    """The versions of a table that were superseded long enough ago.

    Two versions always stay, the newest and the one before: it answers if the newest manifest is damaged.

    Args:
        store: The atlas.
        table: Its name.
        spared: Versions that somebody needs.

    Raises:
        StoreDamagedError: If the table cannot be opened.
    """
    import lance

    try:
        listed = lance.dataset(str(_folder(store, table))).versions()
    except (OSError, RuntimeError, ValueError) as error:
        raise _irremovable(store, table, error) from error
    old = superseded(listed, dt.timedelta(seconds=tidy_limits.SUPERSEDED_FOR_S))
    last = sorted(one["version"] for one in listed)[-2:]
    return [version for version in old if version not in last and version not in spared]


def remove_versions(store: "Store", table: str, versions: Sequence[int]) -> tuple[int, int]:
    """Remove versions of a table, with the files that only they use.

    Files that no version knows, as a kill leaves them, are Lance's to judge: it removes them after seven days.

    Args:
        store: The atlas.
        table: Its name.
        versions: As `old_versions` tells them.

    Returns:
        How many versions, and the bytes that were freed.

    Raises:
        StoreDamagedError: If they cannot be read or removed.
    """
    import lance

    if not versions:
        return 0, 0
    try:
        dataset: Any = lance.dataset(str(_folder(store, table)))
        staying = sorted({one["version"] for one in dataset.versions()}.difference(versions))
        needed = {path for version in staying for path in _files_of(store, table, dataset, version)}
        may_go = [path for path, _ in committed_files(store.folder, table) if path not in needed]
        with unbroken(), store.digests.removing(may_go):
            done = dataset.cleanup_old_versions(
                versions=list(versions), delete_unverified=False, error_if_tagged_old_versions=False
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise _irremovable(store, table, error) from error
    return int(done.old_versions), int(done.bytes_removed)


def _files_of(store: "Store", table: str, dataset: Any, version: int) -> Iterator[str]:
    """Path below the atlas of each file that Lance keeps for a version."""
    yield from open_table(store.folder, table, version).files
    made_by = dataset.read_transaction(version)
    yield f"db/{table}.lance/_transactions/{made_by.read_version}-{made_by.uuid}.txn"


def _irremovable(store: "Store", table: str, error: Exception) -> StoreDamagedError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    message = f"{_folder(store, table)}: its old versions cannot be removed ({reason}); what was committed stays"
    return StoreDamagedError(message)


def superseded(versions: Iterable[dict[str, Any]], age: dt.timedelta, now: dt.datetime | None = None) -> list[int]:
    """Numbers of the versions whose next one is older than some time.

    Args:
        versions: As Lance lists them: "version" and "timestamp", the latter of this machine's zone or with its own.
        age: How long they stay after they were superseded.
        now: For this moment; None for the present.
    """
    listed = sorted(versions, key=lambda one: one["version"])
    limit = (now or dt.datetime.now(dt.UTC)) - age
    # all before the last that is to go: a clock that was set back must not leave gaps
    following = [i for i, one in enumerate(listed[1:]) if one["timestamp"].astimezone(dt.UTC) < limit]
    return [one["version"] for one in listed[: following[-1] + 1]] if following else []


def _folder(store: "Store", table: str) -> Path:
    return store.folder.db / f"{table}.lance"


def _is_above(folder: Path) -> bool:
    """Whether a table has too many versions, or too many bytes that its newest one does not use."""
    import lance

    if sum(1 for _ in folder.glob("_versions/*.manifest")) > tidy_limits.VERSIONS_BEFORE_CLEANING:
        return True
    used = {Path(file.path).name for part in lance.dataset(str(folder)).get_fragments() for file in part.data_files()}
    sizes = ((path.name, path.stat().st_size) for path in folder.glob("data/*"))
    return sum(size for name, size in sizes if name not in used) > tidy_limits.OLD_BYTES_BEFORE_CLEANING
