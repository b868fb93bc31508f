"""Take files and rows out of an atlas so that they can be had back: files go to `damaged/`. Writes, under the locks."""

import datetime as dt
import errno
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.store.digests import Digests
from locatlas.indexer.store.file_digest import file_digest, sync_folder
from locatlas.indexer.store.lance_files import Opened, open_table, reading
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.verify.rows import ill_formed
from locatlas.interrupts import unbroken

__all__ = ["Aside", "addresses", "drop_fragments", "drop_rows", "later_duplicates"]


class Aside:
    """The folder into which this repair moves what it takes out: `damaged/<time>/<path below the atlas>`."""

    def __init__(self, folder: AtlasFolder, digests: Digests) -> None:
        self._folder = folder
        self._digests = digests
        self.path = folder.path / "damaged" / f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%fZ}"

    @property
    def name(self) -> str:
        """Its name below the atlas."""
        return self.path.relative_to(self._folder.path).as_posix()

    def move(self, paths: Iterable[str]) -> None:
        """Move files there, and take them out of the journal; those that are missing already as well.

        Args:
            paths: Below the atlas.
        """
        paths = sorted(paths)
        with self._digests.removing(paths):
            moved = [path for path in paths if _move(self._folder.path / path, self.path / path)]
            # on disk before the journal forgets them: else a power cut gives back a file that is taken for a new one
            for folder in sorted({parent for path in moved for parent in self._folders(path)}):
                sync_folder(folder)

    def _folders(self, path: str) -> list[Path]:
        """Folders in which a move changed names: from where, to where, and those that were made for it."""
        to = (self.path / path).parent
        return [(self._folder.path / path).parent, to, *(p for p in to.parents if p.is_relative_to(self._folder.path))]


def _move(source: Path, target: Path) -> bool:
    """Move a file; whether it was there."""
    if not source.exists() and not source.is_symlink():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(source, target)
        file_digest(target, to_disk=True)
        source.unlink()
    return True


def drop_fragments(folder: AtlasFolder, digests: Digests, opened: Opened, numbers: Sequence[int]) -> int:
    """Commit a version of a table without some fragments, without reading them.

    Args:
        folder: The atlas.
        digests: Of its files.
        opened: The newest version of the table.
        numbers: Of the fragments.

    Returns:
        Rows that were in them.

    Raises:
        StoreDamagedError: If it cannot be committed.
    """
    import lance

    path = folder.db / f"{opened.name}.lance"
    with unbroken():
        with reading(path, "written"):
            before = int(opened.dataset.count_rows())
            operation = lance.LanceOperation.Delete(
                updated_fragments=[], deleted_fragment_ids=sorted(numbers), predicate="true"
            )
            now = lance.LanceDataset.commit(str(path), operation, read_version=opened.version)
            after = int(now.count_rows())
        digests.take([opened.name])
    return before - after


def drop_rows(folder: AtlasFolder, digests: Digests, table: str, rows: Sequence[int]) -> None:
    """Delete rows by their address (`_rowid`), in one commit.

    Raises:
        StoreDamagedError: If it cannot be committed.
    """
    opened = open_table(folder, table)
    with unbroken():
        with reading(folder.db / f"{table}.lance", "written"):
            opened.dataset.delete(f"_rowid IN ({', '.join(str(int(row)) for row in rows)})")
        digests.take([table])


def later_duplicates(opened: Opened) -> list[int]:
    """Addresses of the rows whose id occurs again at a later address, and of rows without a good id.

    A later address is a row that was written later only while the table is `in_order`: merged rows get the last ones,
    however old they are.
    """
    with reading(opened.dataset.uri):
        rows = opened.dataset.to_table(columns=["id"], with_row_id=True).sort_by("_rowid")
    bad = pc.or_kleene(pc.is_null(rows["id"]), ill_formed(rows["id"]))
    last: dict[str, int] = {}
    dropped = rows.filter(bad)["_rowid"].to_pylist()
    good = rows.filter(pc.invert(bad))
    for i, row in zip(good["id"].to_pylist(), good["_rowid"].to_pylist(), strict=True):
        if i in last:
            dropped.append(last[i])
        last[i] = row
    return sorted(dropped)


def addresses(opened: Opened, ids: Iterable[str]) -> list[int]:
    """Addresses of the rows with these ids."""
    wanted = pa.array(sorted(ids), pa.string())
    with reading(opened.dataset.uri):
        rows = opened.dataset.to_table(columns=["id"], with_row_id=True)
    return list(rows.filter(pc.is_in(rows["id"], value_set=wanted))["_rowid"].to_pylist())
