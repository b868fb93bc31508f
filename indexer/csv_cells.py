"""Text in cells of CSV files that spreadsheet programs open: never a formula, given back as it was. Writes lines.

A cell that begins with =, +, -, @, a tab or a line break (or their wide forms) is run or cut off as a formula by
spreadsheet programs (OWASP, "CSV injection"): a gene named `=cmd|'/C calc'!A0` would be. Such text gets an apostrophe
in front, which these programs show and do not run. Numbers stay. So that every text can be told from its escaped form,
one that already stands behind apostrophes gets one more.
"""

import csv
import re
from collections.abc import Iterable
from typing import IO, Any, TypeVar

__all__ = ["as_cell", "of_cell", "write_cells"]

T = TypeVar("T")

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"'*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None


def as_cell(value: T) -> T | str:
    """The value as it is written; whatever is no text stays.

    >>> as_cell("=1+1"), as_cell("-0.5"), as_cell("LMNB1")
    ("'=1+1", '-0.5', 'LMNB1')
    """
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def of_cell(text: Any) -> Any:
    """What `as_cell` wrote, as it was.

    >>> of_cell("'=1+1"), of_cell("'quoted'")
    ('=1+1', "'quoted'")
    """
    if isinstance(text, str) and text.startswith("'") and _is_formula(text[1:]):
        return text[1:]
    return text


def write_cells(stream: IO[str], cells: Iterable[Any]) -> None:
    """Write one line of CSV, escaped.

    Args:
        stream: Text, opened with `newline=""`.
        cells: Text and numbers; None is empty.
    """
    line = [as_cell(cell) for cell in cells]
    # csv leaves a carriage return unquoted, after which many programs begin a new line, and so a new cell
    broken = any(isinstance(cell, str) and "\r" in cell for cell in line)
    csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if broken else csv.QUOTE_MINIMAL).writerow(line)
