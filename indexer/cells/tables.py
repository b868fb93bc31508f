"""Cells by a table: boxes, centres, run-length encodings and own labels, row by row. Reads tables."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.cells.table_columns import CellColumns, find_columns
from locatlas.indexer.datasets.tables import open_table
from locatlas.indexer.labels import parse_labels

__all__ = ["CellRow", "FieldRows", "read_cell_table"]

BadCellError = ImageRejectedError
"""A row that no cell can be made of; its field is rejected with it."""


@dataclass(frozen=True, slots=True)
class CellRow:
    """What a row says of a cell; None where it says nothing.

    Attributes:
        line: Line in the table.
        name: Of the cell in its field.
        box: Top, left, bottom, right in pixels, the last two behind the cell.
        centroid: y, x in pixels.
        nucleus: y, x of the nucleus.
        area_px: Pixels of the cell.
        size: Height and width of the field, as the table has them.
        runs: Mask in Kaggle's classic encoding.
        prediction: Masks of all cells of the field in Kaggle's encoding of 2021.
        localizations: Of this very cell.
        annotated_by: Who gave them.
    """

    line: int
    name: str | None = None
    box: tuple[int, int, int, int] | None = None
    centroid: tuple[float, float] | None = None
    nucleus: tuple[float, float] | None = None
    area_px: int | None = None
    size: tuple[int, int] | None = None
    runs: str | None = None
    prediction: str | None = None
    localizations: tuple[str, ...] | None = None
    annotated_by: str | None = None

    @property
    def placed(self) -> bool:
        """Whether the row itself says where its cells are."""
        return any(x is not None for x in (self.box, self.centroid, self.nucleus, self.runs, self.prediction))


@dataclass(slots=True)
class FieldRows:
    """All that a table says of one field of view.

    Attributes:
        rows: Its cells in the table's order; none where the table names the field and no cell.
        problem: Why they cannot be used, naming table and line; None if they can.
        digest: blake2b-128, hex, over the text of the columns that are read, whatever else the table holds.
    """

    rows: list[CellRow] = field(default_factory=list)
    problem: str | None = None
    digest: str = ""


def read_cell_table(path: Path) -> dict[str, FieldRows]:
    """The cells of a CSV, TSV or Parquet table by field, the fields called as in the table.

    A field whose row has a name and no cell is one without cells. A row that cannot be understood spoils its field,
    since a field must not lose cells silently.

    Raises:
        InputError: If the table cannot be read as a whole: unknown columns, a line with too few cells, a row that names
            no field.
    """
    table = open_table(path)
    columns = find_columns(table.columns, path)
    found: dict[str, FieldRows] = {}
    digests: dict[str, list[bytes]] = {}
    lines: dict[tuple[str, str], int] = {}
    for row in table.rows():
        where = f"{path} line {row.line}"
        if row.problem is not None:
            message = f"{where}: {row.problem}"
            raise InputError(message)
        name = _field_name(row.values, columns)
        if not name:
            message = f"{where}: names no field of view (column {', '.join(columns.field)} is empty)"
            raise InputError(message)
        of = found.setdefault(name, FieldRows())
        text = "\x1f".join(f"{c}\x1e{row.values[c]}" for c in columns.used if c not in columns.field)
        digests.setdefault(name, []).append(hashlib.blake2b(text.encode(), digest_size=16).digest())
        if of.problem is not None:
            continue
        try:
            cell = _cell_row(row.line, row.values, columns)
            if cell is not None:
                if cell.name is not None and (first := lines.setdefault((name, cell.name), row.line)) != row.line:
                    message = f"cell {cell.name!r} stands in line {first} already"
                    raise BadCellError(message)
                of.rows.append(cell)
        except BadCellError as error:
            of.problem = f"{where}, field {name!r}: {error}"
    for name, parts in digests.items():
        found[name].digest = hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()
    return found


def _field_name(values: Mapping[str, str], columns: CellColumns) -> str:
    parts = [values[c] for c in columns.field]
    return unicodedata.normalize("NFC", "_".join(parts)) if all(parts) else ""


def _cell_row(line: int, values: Mapping[str, str], columns: CellColumns) -> CellRow | None:
    """The row's cell; None where it names none."""
    read = [c for c in columns.places if values[c]]
    name = _name(values[columns.cell]) if columns.cell else None
    if not read and name is None:
        return None
    if columns.cell and name is None:
        message = f"the cell has no name (column {columns.cell!r} is empty)"
        raise BadCellError(message)
    localizations, annotated_by = _labels(values, columns)
    box = _box(values, columns)
    area = _whole(values[columns.area], columns.area) if columns.area and values[columns.area] else None
    if area is not None and (area < 1 or (box and area > (box[2] - box[0]) * (box[3] - box[1]))):
        message = f"an area of {area} px" + (f" in a box of {box[2] - box[0]} x {box[3] - box[1]} px" if box else "")
        raise BadCellError(message)
    size = _pair(values, columns.size, whole=True)
    return CellRow(
        line=line,
        name=name,
        box=box,
        centroid=_pair(values, columns.centroid),
        nucleus=_pair(values, columns.nucleus),
        area_px=area,
        size=None if size is None else (int(size[0]), int(size[1])),
        runs=values[columns.runs] or None if columns.runs else None,
        prediction=values[columns.prediction] or None if columns.prediction else None,
        localizations=localizations,
        annotated_by=annotated_by,
    )


def _name(text: str) -> str | None:
    """A cell's name; a number that a spreadsheet or pandas wrote as "17.0" is the mask's 17."""
    text = unicodedata.normalize("NFC", text)
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        message = f"cell {text!r} has control characters"
        raise BadCellError(message)
    if "/" in text:
        message = f"cell {text!r} has a '/', which parts a cell's name from its field's"
        raise BadCellError(message)
    return re.sub(r"^([0-9]+)\.0+$", r"\1", text) or None


def _box(values: Mapping[str, str], columns: CellColumns) -> tuple[int, int, int, int] | None:
    names = columns.box or columns.corner
    given = [c for c in names if values[c]]
    if not given:
        return None
    if len(given) < len(names):
        message = f"its box is not whole: {', '.join(c for c in names if not values[c])} empty"
        raise BadCellError(message)
    first, second, third, fourth = (_whole(values[c], c) for c in names)
    top, left = first, second
    bottom, right = (third, fourth) if columns.box else (first + third, second + fourth)
    if bottom <= top or right <= left:
        message = f"its box has no pixel: {', '.join(f'{c} {values[c]}' for c in names)}"
        raise BadCellError(message)
    return top, left, bottom, right


def _pair(values: Mapping[str, str], names: tuple[str, ...], *, whole: bool = False) -> tuple[float, float] | None:
    given = [c for c in names if values[c]]
    if not given:
        return None
    if len(given) < len(names):
        message = f"{given[0]} without {next(c for c in names if c not in given)}"
        raise BadCellError(message)
    first, second = (_whole(values[c], c) if whole else _number(values[c], c) for c in names)
    return first, second


def _number(text: str, column: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        message = f"{column} {text!r} is not a number"
        raise BadCellError(message)
    return number


def _whole(text: str, column: str) -> int:
    number = _number(text, column)
    if number != int(number) or abs(number) > 2**31:
        message = f"{column} {text!r} is not a whole number of pixels"
        raise BadCellError(message)
    return int(number)


def _labels(values: Mapping[str, str], columns: CellColumns) -> tuple[tuple[str, ...] | None, str | None]:
    """Own localizations and who gave them. No localization with an annotator: there is none to be seen."""
    if not columns.labels:
        return None, None
    said, by = (values[c] for c in columns.labels)
    if not by:
        if said:
            message = f"localizations {said!r} without annotated_by: whose are they?"
            raise BadCellError(message)
        return None, None
    return parse_labels(said), by
