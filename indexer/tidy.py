"""Keep the files of a table few while it is written: merge its fragments, remove versions nobody reads. I/O.

A version is removed once it has been superseded for a time, not once it is old: the newest version of a table that was
not written for a week may be open in a reader when the next commit supersedes it.
"""

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locatlas.errors import StoreDamagedError
from locatlas.indexer import tidy_limits
from locatlas.indexer.digests import committed_files
from locatlas.indexer.verify.lance_files import open_table
from locatlas.interrupts import unbroken

if TYPE_CHECKING:
    from locatlas.indexer.ledger import Run
    from locatlas.indexer.store import Store

__all__ = ["FREED", "MERGED", "REMOVED", "remove_old_versions", "tidy"]

MERGED, REMOVED, FREED = "tables merged", "old versions removed", "bytes freed"
"""What is counted of it in the ledger."""


def tidy(store: "Store", tables: Iterable[str], run: "Run") -> None:
    """Merge fragments and remove old versions of tables that are above a limit; the writer lock is held.

    Args:
        store: The atlas.
        tables: Names; those that do not exist are passed over.
        run: Counts what was done.

    Raises:
        StoreDamagedError: If something cannot be read or written; what was committed stays.
    """
    for table in tables:
        if not store.has(table):
            continue
        before = store.version(table)
        store.compact(table)
        if store.version(table) != before:
            run.counts[MERGED] += 1
        if _is_above(_folder(store, table)):
            removed, freed = remove_old_versions(store, table)
            if removed:
                run.counts[REMOVED] += removed
                run.counts[FREED] += freed


def remove_old_versions(store: "Store", table: str) -> tuple[int, int]:
    """Remove the versions of a table that were superseded long enough ago, with the files that only they use.

    Files that no version knows, as a kill leaves them, are Lance's to judge: it removes them after seven days.

    Args:
        store: The atlas.
        table: Its name.

    Returns:
        How many versions, and the bytes that were freed.

    Raises:
        StoreDamagedError: If they cannot be read or removed.
    """
    import lance

    folder = _folder(store, table)
    try:
        dataset: Any = lance.dataset(str(folder))
        old = superseded(dataset.versions(), dt.timedelta(seconds=tidy_limits.SUPERSEDED_FOR_S))
        if not old:
            return 0, 0
        needed = open_table(store.folder, table).files
        may_go = [path for path, _ in committed_files(store.folder, table) if path not in needed]
        with unbroken(), store.digests.removing(may_go):
            done = dataset.cleanup_old_versions(
                versions=old, delete_unverified=False, error_if_tagged_old_versions=False
            )
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        message = f"{folder}: its old versions cannot be removed ({reason}); what was committed stays"
        raise StoreDamagedError(message) from error
    return int(done.old_versions), int(done.bytes_removed)


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
