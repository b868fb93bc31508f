"""The cells that a data set gives: label images and tables, found for each field of view. Reads files."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.annotation.sheet import AllowedLabels
from locatlas.indexer.cells.masks import MASK_SUFFIXES
from locatlas.indexer.cells.matching import mask_name, names_of
from locatlas.indexer.cells.placing import labelled, overlap_px, placed
from locatlas.indexer.cells.regions import Region, regions_of
from locatlas.indexer.cells.tables import FieldRows, read_cell_table
from locatlas.indexer.datasets.scan import file_problem, find_files
from locatlas.indexer.files.decoding import read_label_image
from locatlas.indexer.files.opening import opened
from locatlas.indexer.files.planes import plural
from locatlas.indexer.records import ImageRecord

__all__ = ["GivenCells"]

Kind = Literal["cells", "nuclei"]


@dataclass(slots=True, eq=False)
class GivenCells:
    """Masks below a folder and cells of a table, beside the masks that records name themselves.

    A record's own mask comes before one of the folder. Where a field has a mask and rows in the table, the mask says
    where the cells are and the table what they are.

    Attributes:
        folder: The masks' folder, resolved; None where none was given.
        table: The table, None where none was given.
    """

    folder: Path | None = None
    table: Path | None = None
    _masks: dict[tuple[Kind, bool, str], list[Path]] = field(default_factory=dict)
    _rows: dict[str, FieldRows] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)
    _overlaps: dict[str, int] = field(default_factory=dict)

    @classmethod
    def find(cls, *, masks: Path | None = None, table: Path | None = None) -> Self:
        """Look through a folder of masks and read a table of cells.

        Names of masks: `{field}_cellmask`, `{field}_cell_mask`, `{field}_mask`, `{field}_cp_masks`, `cellmask_{field}`
        or `{field}` alone; of nuclei `{field}_nucleimask`, `{field}_nuclei`, `{field}_nuc_mask`, `nucleimask_{field}`,
        or `{field}` in a folder named for nuclei. Links that lead out of the folder are not followed.

        Raises:
            InputError: If the folder or the table is missing or cannot be used, or no mask lies in the folder.
        """
        given = cls(table=table)
        if masks is not None:
            folder = masks.expanduser()
            if not folder.is_dir():
                message = f"{masks}: a folder of label images is needed"
                raise InputError(message)
            given.folder = folder.resolve()
            given._index(find_files(given.folder).files)
            if not given._masks:
                message = f"{masks}: holds no label image ({', '.join(MASK_SUFFIXES)})"
                raise InputError(message)
        if table is not None:
            given._rows = read_cell_table(table)
        return given

    def _index(self, files: Iterable[Path]) -> None:
        assert self.folder is not None
        for path in files:
            if path.suffix.lower() in MASK_SUFFIXES:
                name = mask_name(path)
                self._masks.setdefault((name.of, name.marked, name.stem), []).append(path)
                below = path.parent.relative_to(self.folder).as_posix()
                if below != ".":  # a field's own name may have folders
                    self._masks.setdefault((name.of, name.marked, f"{below}/{name.stem}"), []).append(path)

    def attach(self, record: ImageRecord) -> ImageRecord:
        """The record with the folder's masks of its cells and nuclei, where it has none of its own.

        Raises:
            ImageRejectedError: If several files could be meant, one is meant by two records, or it must not be read.
        """
        if not self._masks or record.level != "fov":
            return record
        cells = record.mask_path or self._mask(record, "cells")
        nuclei = record.nucleus_mask_path or self._mask(record, "nuclei")
        return replace(record, mask_path=cells, nucleus_mask_path=nuclei)

    def _mask(self, record: ImageRecord, kind: Kind) -> Path | None:
        assert self.folder is not None
        own = {source.path.resolve() for source in record.sources}
        names = names_of(record)
        # a name with folders says more than that of a file
        exact = [name for name in names if "/" in name]
        found: list[Path] = []
        for marked, some in ((True, exact), (True, names), (False, exact), (False, names)):
            held = (path for name in some for path in self._masks.get((kind, marked, name), ()))
            found = [path for path in dict.fromkeys(held) if path.resolve() not in own]
            if found:
                break
        if not found:
            return None
        if len(found) > 1:
            listed = " and ".join(path.relative_to(self.folder).as_posix() for path in found[:3])
            message = f"{record.id}: its mask of {kind} could be {listed}, below {self.folder}; keep one of them"
            raise ImageRejectedError(message)
        if problem := file_problem(found[0], [self.folder]):
            message = f"{found[0]}: {problem}"
            raise ImageRejectedError(message)
        self._claim(str(found[0]), record)
        return found[0]

    def _claim(self, what: str, record: ImageRecord) -> None:
        owner = self._owners.setdefault(what, record.id)
        if owner != record.id:
            message = f"{what}: meant by two fields, {owner} and {record.id}; call them by their ids"
            raise ImageRejectedError(message)

    def _of(self, record: ImageRecord) -> FieldRows | None:
        """What the table says of a record.

        Raises:
            ImageRejectedError: If it means it by two names, or two records by one.
        """
        if not self._rows or record.level != "fov":
            return None
        names = [name for name in names_of(record) if name in self._rows]
        if not names:
            return None
        if len(names) > 1:
            message = f"{self.table}: the field {record.id} is called {' and '.join(names)}; call it by one name"
            raise ImageRejectedError(message)
        self._claim(f"{self.table}, field {names[0]!r}", record)
        return self._rows[names[0]]

    def has(self, record: ImageRecord) -> bool:
        """Whether the record has a mask (call `attach` first) or the table names it.

        Raises:
            ImageRejectedError: If the table's names are ambiguous.
        """
        return record.level == "fov" and (record.mask_path is not None or self._of(record) is not None)

    def digest(self, record: ImageRecord) -> str:
        """blake2b-128 in hex of all that decides the record's cells: bytes of its masks, text of its rows.

        Masks are read, not decoded; of the table nothing is read again.

        Raises:
            ImageRejectedError: If a mask cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        for path in (record.mask_path, record.nucleus_mask_path):
            part = b""
            if path is not None:
                with opened(path) as (stream, _size):
                    part = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()  # type: ignore[arg-type]
            digest.update(len(part).to_bytes(1, "little") + part)
        rows = self._of(record)
        digest.update((rows.digest if rows is not None else "").encode())
        return digest.hexdigest()

    def regions(self, record: ImageRecord, *, height: int, width: int) -> list[Region]:
        """The cells of a field: by number where there is a mask, else in the table's order.

        Args:
            record: With its masks attached.
            height: Of the image, pixels.
            width: The same.

        Raises:
            ImageRejectedError: Naming the file, and the line of a table, and the reason.
        """
        rows = self._of(record)
        if rows is not None and rows.problem is not None:
            raise ImageRejectedError(rows.problem)
        if record.mask_path is None:
            if rows is None:
                message = f"{record.id}: no mask and no row of a table gives its cells"
                raise ImageRejectedError(message)
            found = self._named(record, lambda: placed(rows.rows, height=height, width=width))
            if overlap := overlap_px(found, height=height, width=width):
                self._overlaps[record.id] = overlap
            return found
        cells = read_label_image(record.mask_path, height=height, width=width)
        nuclei = None
        if record.nucleus_mask_path is not None:
            nuclei = read_label_image(record.nucleus_mask_path, height=height, width=width, binary=True)
        try:
            found = regions_of(cells, nuclei)
        except ImageRejectedError as error:
            message = f"{record.mask_path}: {error}"
            raise ImageRejectedError(message) from error
        if rows is None:
            return found
        return self._named(record, lambda: labelled(found, rows.rows))

    def _named(self, record: ImageRecord, make: Callable[[], list[Region]]) -> list[Region]:
        try:
            return make()
        except ImageRejectedError as error:
            message = f"{self.table} {error} (field {record.id})"
            raise ImageRejectedError(message) from error

    def notes(self) -> list[str]:
        """What is worth telling once all fields were asked for: files and rows that no field took, overlaps."""
        out = []
        files = {path for paths in self._masks.values() for path in paths}
        if left := sorted(str(path) for path in files if str(path) not in self._owners):
            known = f"{len(left)} of {len(files)} masks belong to no field"
            out.append(f"{self.folder}: {known}, e.g. {Path(left[0]).name}")
        if left := [name for name in self._rows if f"{self.table}, field {name!r}" not in self._owners]:
            known = f"{len(left)} of {len(self._rows)} fields are not in the data set"
            out.append(f"{self.table}: {known}, e.g. {left[0]!r}")
        if self._overlaps:
            total = plural(len(self._overlaps), "field")
            shared = sum(self._overlaps.values())
            out.append(f"{self.table}: cells overlap in {total} ({shared} px); each keeps all of its pixels")
        return out

    def label_notes(self, usual: AllowedLabels) -> list[str]:
        """What is worth telling of the table's own labels: that some are not among the usual ones, as typos."""
        said = ((row, label) for rows in self._rows.values() for row in rows.rows for label in row.localizations or ())
        unknown = [(row.line, label) for row, label in said if label not in usual.labels]
        if not unknown or not usual.labels:
            return []
        line, first = unknown[0]
        near = usual.nearest(first)
        meant = f"; did you mean {near!r}?" if near is not None else ""
        n = plural(len({label for _, label in unknown}), "label")
        known = f"{n} of {plural(len({line for line, _ in unknown}), 'cell')} not among {usual.title}, kept as written"
        return [f"{self.table}: {known}, e.g. line {line}: {first!r}{meant}"]
