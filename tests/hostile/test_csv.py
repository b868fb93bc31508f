"""Text in exported CSV is never a formula, and comes back as it was."""

import csv
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.cli.common import write_csv
from locatlas.indexer.annotation.sheet import SHEET_COLUMNS, read_sheet
from locatlas.indexer.csv_cells import as_cell, of_cell
from locatlas.query.annotation.report import write_disputed
from locatlas.query.benchmark.write_rows import write_rows

FORMULAS = [
    "=cmd|'/C calc'!A0",
    "+1+2",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+1",
    "'=1",
    "''=1",
    "=",
    "-",
    "@",
]
PLAIN = ["LMNB1", "", "'quoted'", "a=b", "-0.5", "+1e-3", "3", "naïve", "'-1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_escaped(text: str) -> None:
    assert as_cell(text) == f"'{text}"
    assert of_cell(as_cell(text)) == text


@pytest.mark.parametrize("value", [*PLAIN, 3, -0.5, None, True])
def test_what_is_no_formula_stays(value: object) -> None:
    assert as_cell(value) is value


@given(st.text() | st.text("'=+-@\t\r\n1.e", max_size=8))
def test_any_text_comes_back_and_none_begins_as_a_formula(text: str) -> None:
    cell = as_cell(text)
    assert of_cell(cell) == text
    if cell[:1] in tuple("=+-@\t\r\n＝＋－＠"):
        float(cell)  # a number runs nothing


def cells(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return [cell for row in csv.reader(stream) for cell in row]


def test_every_table_that_is_written_as_csv_is_escaped(tmp_path: Path) -> None:
    lists = [[text] for text in FORMULAS]
    table = pa.table({"protein": FORMULAS, "places": lists, "score": [-0.5] * len(FORMULAS)})
    write_csv(table, tmp_path / "a.csv")
    write_rows(
        [{"encoder": text, "classes": [text], "f1": -0.5, "f1_ci95": (-1.0, 1.0)} for text in FORMULAS],
        tmp_path / "b.csv",
    )
    said = [{"id": t, "decisions": [{"annotator": t, "localizations": [t], "note": t, "at": "2026"}]} for t in FORMULAS]
    write_disputed({"disputed": said}, tmp_path / "c.csv")
    for name in ("a.csv", "b.csv", "c.csv"):
        found = cells(tmp_path / name)
        assert len([cell for cell in found if of_cell(cell) in FORMULAS]) >= 2 * len(FORMULAS)
        for cell in found:
            if cell[:1] in tuple("=+-@\t\r\n＝＋－＠"):
                float(cell)


@pytest.mark.parametrize("text", [*(t for t in FORMULAS if t.strip() == t), *(t for t in PLAIN if t)])
def test_an_annotation_sheet_is_read_back_as_it_was_written(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(SHEET_COLUMNS)
    table.writerow(map(as_cell, [text, "1.png", text, text, text]))
    path.write_text(out.getvalue(), encoding="utf-8-sig")
    (row,) = read_sheet(path)
    assert (row.id, row.localizations, row.note, row.source_digest) == (text, text, text, text)
