"""Mend what can be mended, by what was found; whatever is taken out goes to `damaged/`. Writes, under the locks."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from locatlas.indexer.files.planes import plural
from locatlas.indexer.indices.opening import kind_of
from locatlas.indexer.pixel_cache.keeping import drop_segment
from locatlas.indexer.store.atomic import remove
from locatlas.indexer.store.cache_entries import drop_cache
from locatlas.indexer.store.file_digest import file_digest
from locatlas.indexer.store.lance_files import Opened, ids_of_fragments, open_before_newest
from locatlas.indexer.store.layout import FORMAT
from locatlas.indexer.store.schema import FOVS
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.upgrade import OLDEST
from locatlas.indexer.verify import losses
from locatlas.indexer.verify.aside import Aside, addresses, drop_fragments, drop_rows, later_duplicates
from locatlas.indexer.verify.file_findings import KEPT, PRECIOUS
from locatlas.indexer.verify.files import table_of
from locatlas.indexer.verify.finding import Finding
from locatlas.indexer.verify.look import Looked
from locatlas.indexer.verify.relations import images_of

__all__ = ["Repair"]

_OF_FILES = ("file missing", "file truncated", "file changed")
"""Not "file unreadable": an error of the system says nothing of the bytes."""


@dataclass(slots=True)
class Repair:
    """One round of repairs.

    Attributes:
        store: The atlas, read as it is.
        looked: What was found.
        aside: Where to things are moved.
        done: What was done, in words.
        indices: Kind of each FAISS index that was removed, by table; "auto" where nothing says it any more.
    """

    store: Store
    looked: Looked
    aside: Aside
    done: list[str] = field(default_factory=list)
    indices: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Do what can be done about each finding.

        Raises:
            StoreDamagedError: If a table cannot be written.
            OSError: If a file cannot be moved.
        """
        found = self.looked.report.findings
        self._info([f for f in found if f.kind.startswith("atlas.json")])
        self._journal([f for f in found if f.kind in _UNCOVERED])
        # looked at again: a repair takes rows out, so one bad moment of a disk must not be enough
        damaged = sorted({path for f in found if f.kind in _OF_FILES for path in f.items if self._is_bad(path)})
        for table in sorted({table_of(path) for path in damaged}):
            self._files(table, [path for path in damaged if table_of(path) == table])
        for finding in found:
            if (mend := _MENDS.get(finding.kind)) is not None and not (
                finding.where in PRECIOUS and finding.kind == "ids missing"
            ):
                mend(self, finding)

    def _info(self, found: Sequence[Finding]) -> None:
        folder = self.store.folder
        for finding in found:
            if finding.kind == "atlas.json changed":
                folder.write_info(self.looked.declared.info)
                self.done.append("atlas.json: sealed as it is")
                continue
            self.aside.move([folder.info_path.name])
            # columns that are there already are left alone, so the oldest version is always right
            folder.write_info({"format": FORMAT, "roots": {}, "schema_version": OLDEST})
            self.store.digests.declare()
            self.done.append(
                "atlas.json: written anew without roots; the next `locatlas index` of each folder declares its own"
            )

    def _journal(self, found: Sequence[Finding]) -> None:
        """Digests of files that have none, and a journal without damaged lines."""
        digests = self.store.digests
        if not found:
            return
        if any(f.kind in _UNWHOLE for f in found):
            digests.settle()
        new = self.store.take_late_digests(anew=True)
        self.done.append(f"digests/files.jsonl: digests of {new} files were taken")

    @property
    def _lacking(self) -> set[str]:
        """Tables of images that are not all there: vectors without an image there may have one again."""
        noted = losses.read(self.store.folder)
        return {"fovs", "cells"} if noted is None else {*noted} | ({"fovs", "cells"} - self.looked.whole)

    def _is_bad(self, path: str) -> bool:
        journal = self.looked.declared.journal
        attested = None if journal is None else journal.files.get(path)
        try:
            return attested is None or file_digest(self.store.folder.path / path) != (attested.size, attested.digest)
        except FileNotFoundError:
            return True
        except OSError:
            return False  # told as unreadable by the next look

    def _files(self, table: str, paths: Sequence[str]) -> None:
        opened = self.looked.opened.get(table)
        in_use = [] if opened is None else [path for path in paths if path in opened.files]
        manifests = [path for path in paths if "/_versions/" in path]
        if opened is None and table in PRECIOUS:
            return
        if opened is None:
            # the newest version, or nothing at all can be opened: only manifests are moved, then it is looked at again
            movable = [p for p in paths if p in manifests or not self._exists(p)]
            if movable and self._has_other_version(table, movable):
                if manifests:
                    self._note_version(table, manifests)
                self.aside.move(movable)
                self.done.append(
                    f"db/{table}.lance: {len(movable)} files of versions set aside; the one before answers"
                )
            elif not (self.store.folder.db / f"{table}.lance").exists():
                self._forget(table, paths)
            return
        if in_use and table in PRECIOUS:
            return
        if in_use:
            self._drop(table, in_use)
        self.aside.move(paths)
        self.done.append(f"db/{table}.lance: {plural(len(paths), 'file')} set aside in {self.aside.name}")

    def _forget(self, table: str, paths: Sequence[str]) -> None:
        if table in KEPT or table in self.looked.imported:
            return
        self.aside.move(paths)
        self.done.append(f"db/{table}.lance: is gone; its {len(paths)} files are not expected any more")

    def _exists(self, path: str) -> bool:
        return (self.store.folder.path / path).exists()

    def _has_other_version(self, table: str, without: Sequence[str]) -> bool:
        versions = (self.store.folder.db / f"{table}.lance" / "_versions").glob("*.manifest")
        gone = {path.rpartition("/")[2] for path in without}
        return any(path.name not in gone for path in versions)

    def _drop(self, table: str, in_use: Sequence[str]) -> None:
        """Commit a version without the fragments of damaged files."""
        opened = self.looked.opened[table]
        # a deletion file is named after the fragment it is of
        numbers = {
            opened.fragments[path] if path in opened.fragments else int(path.rpartition("/")[2].split("-")[0])
            for path in in_use
        }
        self._note_fragments(table, opened, numbers)
        rows = drop_fragments(self.store.folder, self.store.digests, opened, sorted(numbers))
        self.done.append(f"{table}: {rows} rows of damaged files taken out")

    def _note_fragments(self, table: str, opened: Opened, numbers: Collection[int]) -> None:
        """What goes with fragments, before it goes; theirs cannot be read, so it is what the others do not hold."""
        left = ids_of_fragments(opened, numbers)
        before = int(opened.dataset.count_rows())
        name = ", ".join(sorted(path for path, number in opened.fragments.items() if number in numbers))
        self._note(table, left, {name: before - len(left)}, before=before)

    def _note_version(self, table: str, manifests: Sequence[str]) -> None:
        """That a newest version gives way: which rows it had is not known, but which the one before lacks."""
        older = open_before_newest(self.store.folder, table)
        left = set() if older is None else ids_of_fragments(older, ())
        self._note(table, left, dict.fromkeys(manifests), before=None)

    def _note(self, table: str, left: Collection[str], parts: Mapping[str, int | None], *, before: int | None) -> None:
        # of imported vectors only their file knows
        ids = set() if table in self.looked.imported else self._named_elsewhere(table) - set(left)
        losses.add(self.store.folder, table, parts, before=before, ids=ids)

    def _named_elsewhere(self, table: str) -> set[str]:
        """Ids that a table must or may have, by what other tables say: images by their vectors, vectors by images."""
        rows = self.looked.ids
        if table.startswith("emb_"):
            return set(rows.get(images_of(table), ()))
        if table not in ("fovs", "cells"):
            return set()
        level = {"fovs": "emb_fov_", "cells": "emb_cell_"}[table]
        named = {i for name, ids in rows.items() if name.startswith(level) for i in ids}
        return named | (set(self.looked.fields_of_cells) if table == "fovs" else set())

    def _rows(self, finding: Finding) -> None:
        opened = self.looked.opened[finding.where]
        self._delete(finding.where, later_duplicates(opened), finding.kind)

    def _vectors(self, finding: Finding) -> None:
        opened = self.looked.opened[finding.where]
        if finding.kind == "orphan vectors" and (
            finding.where in self.looked.imported or images_of(finding.where) in self._lacking
        ):
            return
        self._delete(finding.where, addresses(opened, finding.items), finding.kind, ids=finding.items)

    def _delete(self, table: str, rows: Sequence[int], why: str, ids: Sequence[str] = ()) -> None:
        if not rows:
            return
        if why == "vectors not finite" and table not in self.looked.imported:
            part = f"{why}: {','.join(sorted(ids))}"
            losses.add(self.store.folder, table, {part: len(ids)}, before=self.store.count(table), ids=ids)
        drop_rows(self.store.folder, self.store.digests, table, rows)
        self.done.append(f"{table}: {len(rows)} rows deleted ({why})")

    def _search_again(self, finding: Finding) -> None:
        """Let fields be searched for cells again by the next `index`."""
        rows = self.store.read_rows("fovs", finding.items, FOVS.names).to_pylist()
        again = [{**row, "segmenter": None, "n_cells": None, "cells_digest": None} for row in rows]
        self.store.upsert("fovs", pa.Table.from_pylist(again, schema=FOVS))
        self.done.append(f"fovs: {len(again)} fields will be searched for cells again by the next `locatlas index`")

    def _remove_index(self, finding: Finding) -> None:
        """Derived, so it is deleted for good, and built again when all else is mended."""
        table = finding.items[0].rpartition("/")[2].partition(".")[0]
        self.indices[table] = kind_of(self.store, table) or "auto"
        remove(self.store.folder.path / path for path in finding.items)
        self.done.append(f"{finding.where}: index removed")

    def _remove_cache(self, finding: Finding) -> None:
        """Derived, so it is deleted for good."""
        table = finding.where.split("/")[1]
        drop_cache(self.store.folder, table)
        self.done.append(f"{finding.where}: cache removed")

    def _remove_pixels(self, finding: Finding) -> None:
        """Derived, so it is deleted for good."""
        drop_segment(self.store.folder.decoded, Path(finding.where).stem)
        self.done.append(f"{finding.where}: decoded images removed")

    def _set_aside(self, finding: Finding) -> None:
        self.aside.move(finding.items)
        self.done.append(f"{finding.where}: {finding.count} {finding.kind} moved to {self.aside.name}")


_UNWHOLE = {"journal damaged", "journal truncated", "journal torn", "head damaged"}
_UNCOVERED = {*_UNWHOLE, "journal missing", "no digests", "no digest", "left over"}

_MENDS: dict[str, Callable[[Repair, Finding], None]] = {
    "duplicate ids": Repair._rows,
    "ill-formed ids": Repair._rows,
    "ids missing": Repair._rows,
    "vectors not finite": Repair._vectors,
    "orphan vectors": Repair._vectors,
    "orphan maps": Repair._vectors,
    "cells missing": Repair._search_again,
    "index damaged": Repair._remove_index,
    "index foreign": Repair._remove_index,
    "index unfinished": Repair._remove_index,
    "cache damaged": Repair._remove_cache,
    "pixels damaged": Repair._remove_pixels,
    "hint damaged": Repair._set_aside,
    "unknown files": Repair._set_aside,
}
