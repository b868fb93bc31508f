"""Rows of CSV, TSV and Parquet tables as text, streamed, with line numbers. Reads files."""

import codecs
import csv
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locatlas.errors import InputError

__all__ = ["Row", "Table", "find_table", "open_table", "rejected_rows"]

logger = logging.getLogger(__name__)

PARQUET_SUFFIXES = (".parquet", ".pq")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
# Longest cell: HPA's GO columns have some thousand characters; a missing quote swallows the rest of the file.
MAX_CELL = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        line: Line in the file (its last, where a quoted cell spans several); row number from 1 in Parquet.
        values: Trimmed text by column; "" where empty.
        problem: Why the row cannot be used, e.g. too few cells; None if it can.
    """

    line: int
    values: dict[str, str]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose header has been read and checked.

    Attributes:
        path: The file.
        columns: Trimmed names in order; the first may be "" (an index column without a name).
        rows: Call it to stream the rows; blank lines are left out. Raises InputError where the file is not text in
            UTF-8 (or UTF-16 with a byte order mark) or its quoting is broken.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[Row]]


def open_table(path: Path, *, required: Sequence[str] = ()) -> Table:
    """A table by its file: Parquet by suffix, else CSV or TSV, whichever the header line shows.

    Args:
        path: The file.
        required: Columns that must be there.

    Raises:
        InputError: In one line: unreadable, no header, a column twice, or required columns missing.
    """
    if not path.is_file():  # a FIFO would hold the run up
        message = f"{path}: no such file, or not a plain one"
        raise InputError(message)
    try:
        if path.suffix.lower() in PARQUET_SUFFIXES:
            columns, rows = _parquet(path)
        else:
            columns, rows = _delimited(path)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise InputError(message) from error
    for name in columns:
        if columns.count(name) > 1:
            message = f"{path}: column {name!r} appears {columns.count(name)} times"
            raise InputError(message)
    if missing := [name for name in required if name not in columns]:
        message = f"{path}: missing column {', '.join(missing)}; columns: {', '.join(columns)}"
        raise InputError(message)
    return Table(path, columns, rows)


def _encoding(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(4)
    return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def _delimited(path: Path) -> tuple[tuple[str, ...], Callable[[], Iterator[Row]]]:
    encoding = _encoding(path)
    header = next((r for r in _cells(path, encoding, None)), None)
    if header is None:
        message = f"{path}: the table is empty"
        raise InputError(message)
    delimiter, columns = header[1], tuple(c.strip() for c in header[2])

    def rows() -> Iterator[Row]:
        body = _cells(path, encoding, delimiter)
        next(body)
        for line, _delimiter, cells in body:
            if len(cells) != len(columns):
                yield Row(line, {}, f"{len(cells)} cells, but the header has {len(columns)}")
            elif any("\0" in cell for cell in cells):
                yield Row(line, {}, "holds NUL characters")
            else:
                yield Row(line, dict(zip(columns, (cell.strip() for cell in cells), strict=True)))

    return columns, rows


def _cells(path: Path, encoding: str, delimiter: str | None) -> Iterator[tuple[int, str, list[str]]]:
    """(line, delimiter, cells) of every line that is not blank; the delimiter is taken from the first one."""
    csv.field_size_limit(MAX_CELL)
    line = 0
    try:
        with path.open(encoding=encoding, newline="") as stream:
            if delimiter is None:
                delimiter = _delimiter(path, stream)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for cells in reader:
                line = reader.line_num
                if any(cell.strip() for cell in cells):
                    yield line, delimiter, cells
    except UnicodeError as error:
        message = f"{path}: not UTF-8 text after line {line}; save it as UTF-8"
        raise InputError(message) from error
    except csv.Error as error:
        message = f"{path}: broken after line {line}: {error}"
        raise InputError(message) from error


def _delimiter(path: Path, stream: io.TextIOWrapper) -> str:
    first = ""
    for first in iter(lambda: stream.readline(MAX_CELL), ""):
        if first.strip():
            break
    stream.seek(0)
    if "\t" in first:
        return "\t"
    if ";" in first and "," not in first:
        message = f"{path}: columns are separated by semicolons; save it with commas or tabs"
        raise InputError(message)
    return ","


def _parquet(path: Path) -> tuple[tuple[str, ...], Callable[[], Iterator[Row]]]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    from locatlas.indexer.files.unpacked import check_parquet

    try:
        check_parquet(path)
        columns = tuple(str(n).strip() for n in pq.read_schema(path).names)
    except (ArrowException, OSError) as error:
        message = f"{path}: not a Parquet file that can be read: {' '.join(str(error).split())}"
        raise InputError(message) from error

    def rows() -> Iterator[Row]:
        number = 0
        try:
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches(batch_size=4096):
                    for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                        number += 1
                        yield _typed_row(number, columns, cells)
        except (ArrowException, OSError) as error:
            message = f"{path}: damaged after row {number}: {' '.join(str(error).split())}"
            raise InputError(message) from error

    return columns, rows


def _typed_row(number: int, columns: Sequence[str], cells: Iterable[object]) -> Row:
    values = {}
    for name, cell in zip(columns, cells, strict=True):
        text = _text(cell)
        if text is None:
            return Row(number, {}, f"column {name!r} holds {type(cell).__name__}, which is no text or number")
        values[name] = text.strip()
    return Row(number, values)


def _text(cell: Any) -> str | None:
    """Text of a Parquet cell; a list is joined by ";"."""
    if cell is None or cell != cell:  # NaN is how pandas writes a missing number
        return ""
    if isinstance(cell, list | tuple):
        parts = [_text(part) for part in cell]
        return None if None in parts else ";".join(part for part in parts if part)
    if isinstance(cell, dict | bytes):
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def find_table(files: Iterable[Path], fits: Callable[[Sequence[str]], bool]) -> Path | None:
    """The first table, nearest to the root first, whose columns fit; other files and broken tables are passed over."""
    candidates = [p for p in files if p.suffix.lower() in TABLE_SUFFIXES]
    for path in sorted(candidates, key=lambda p: (len(p.parts), p.parts)):
        try:
            columns = open_table(path).columns
        except InputError as error:
            logger.info("passed over: %s", error)
            continue
        if fits(columns):
            return path
    return None


def rejected_rows(table: Table, rows: Iterable[Row], reject: Callable[[str, str], None]) -> Iterator[Row]:
    """The usable rows; the others are told to `reject` as (source, reason), the source naming file and line."""
    for row in rows:
        if row.problem is None:
            yield row
        else:
            reject(f"{table.path.name} line {row.line}", row.problem)
