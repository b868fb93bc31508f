"""The sheet that annotators fill in: its columns, its rows, and labels as the annotator spelled them. Reads files."""

import codecs
import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from locatlas.errors import InputError
from locatlas.indexer.csv_cells import of_cell
from locatlas.indexer.datasets.tables import open_table
from locatlas.indexer.labels import Vocabulary, parse_labels

__all__ = ["NOTHING", "SHEET_COLUMNS", "AllowedLabels", "SheetRow", "read_sheet", "refuse_lines"]

SHEET_COLUMNS = ("id", "picture", "localizations", "note", "source_digest")
"""Columns of an exported sheet; import needs the first, the third and the last."""

NOTHING = "none"
"""What an annotator writes who looked and saw no localization."""

_LINES_NAMED = 8


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One line of a sheet.

    Attributes:
        line: In the file.
        id: Of the image.
        localizations: As written; "" where the annotator skipped the image.
        note: As written.
        source_digest: Of the image that was exported.
    """

    line: int
    id: str
    localizations: str
    note: str
    source_digest: str


def refuse_lines(path: Path, problems: Sequence[tuple[int, str]]) -> None:
    """Refuse a file for what is wrong in some of its lines: the first in full, the others by number.

    Raises:
        InputError: If there is any problem.
    """
    if not problems:
        return
    (line, reason), others = problems[0], [str(n) for n, _ in problems[1:]]
    more = ""
    if others:
        named = ", ".join(others[:_LINES_NAMED]) + (", ..." if len(others) > _LINES_NAMED else "")
        more = f" (and {len(others)} more such line{'s' * (len(others) > 1)}: {named})"
    message = f"{path} line {line}: {reason}; nothing was written{more}"
    raise InputError(message)


def read_sheet(path: Path) -> list[SheetRow]:
    """The rows of a sheet in the order of the file; further columns are passed over.

    Args:
        path: CSV, TSV (UTF-8, or UTF-16 with a byte order mark) or Parquet.

    Raises:
        InputError: Naming the file, and the line where there is one: unreadable, not such text, columns missing, a
            line with other cells than the header, or without id or source_digest.
    """
    _check_text(path)
    table = open_table(path, required=("id", "localizations", "source_digest"))
    is_csv = path.suffix.lower() not in (".parquet", ".pq")
    problems: list[tuple[int, str]] = []
    rows = []
    for row in table.rows():
        if row.problem is not None:
            problems.append((row.line, row.problem))
            continue
        values = {name: of_cell(cell) for name, cell in row.values.items()} if is_csv else row.values
        image_id = unicodedata.normalize("NFC", values["id"])
        digest = values["source_digest"]
        if not image_id or not digest:
            problems.append((row.line, f"{'id' if not image_id else 'source_digest'} is empty; leave it as exported"))
            continue
        rows.append(SheetRow(row.line, image_id, values["localizations"], values.get("note", ""), digest))
    refuse_lines(path, problems)
    return rows


def _check_text(path: Path) -> None:
    """Refuse what spreadsheet programs save beside CSV, and text in another encoding by its line."""
    if not path.is_file() or path.suffix.lower() in (".parquet", ".pq"):
        return  # `open_table` tells what is wrong
    data = path.read_bytes()
    if data.startswith(b"PK\x03\x04"):
        message = f"{path}: a spreadsheet program's own file; save the sheet as CSV in UTF-8"
        raise InputError(message)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{path} line {line}: not UTF-8 text; save the sheet as CSV in UTF-8"
        raise InputError(message) from error


class AllowedLabels:
    """The labels that an annotator may write, in any letter case.

    Args:
        labels: Their spellings.
        title: What they are, e.g. "the labels of this atlas".
        aliases: (other spelling, label) pairs.
        new: Whether further labels are taken as they are written.
    """

    def __init__(
        self, labels: Iterable[str], title: str, *, aliases: Iterable[tuple[str, str]] = (), new: bool = False
    ) -> None:
        self.labels = tuple(sorted(set(labels)))
        self.title = title
        self._new = new
        self._folded: dict[str, set[str]] = {}
        for spelling, label in (*((label, label) for label in self.labels), *aliases):
            self._folded.setdefault(spelling.casefold(), set()).add(label)

    @classmethod
    def of_vocabulary(cls, vocabulary: Vocabulary, *, new: bool = False) -> Self:
        """All labels of a vocabulary, with its other spellings."""
        return cls(vocabulary.labels, f"vocabulary {vocabulary.name}", aliases=vocabulary.aliases, new=new)

    def decision(self, text: str) -> tuple[str, ...] | None:
        """What an annotator wrote: localizations, sorted; () for "none"; None for nothing.

        Raises:
            InputError: If a label is not allowed, or "none" stands beside one.
        """
        written = parse_labels(text)
        if not written:
            return None
        nothing = [label for label in written if label.casefold() == NOTHING]
        if nothing and len(written) > len(nothing):
            message = f"{text!r} says {NOTHING!r} and names localizations; one or the other needed"
            raise InputError(message)
        return () if nothing else tuple(sorted({self._spelled(label) for label in written}))

    def nearest(self, label: str) -> str | None:
        """The label that is spelled most alike; None where none is alike."""
        close = difflib.get_close_matches(label.casefold(), self._folded, n=1, cutoff=0.6)
        return sorted(self._folded[close[0]])[0] if close else None

    def _spelled(self, label: str) -> str:
        if label in self.labels:
            return label
        found = self._folded.get(label.casefold(), set())
        if len(found) == 1:
            return next(iter(found))
        if found:
            message = f"{label!r} could be {' or '.join(map(repr, sorted(found)))}: write it in its own letter case"
            raise InputError(message)
        if self._new:
            return label
        near = self.nearest(label)
        meant = f"; did you mean {near!r}?" if near is not None else ""
        message = (
            f"label {label!r} is not among {self.title}{meant} (--vocabulary names another list, --new-labels takes "
            "it as it is)"
        )
        raise InputError(message)
