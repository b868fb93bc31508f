"""Tables of cells: rows by field, names as in the mask, digests by content, problems with file and line."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from locatlas.errors import InputError
from locatlas.indexer.cells.tables import read_cell_table

BOXES = "fov,cell,top,left,bottom,right,area_px,note\n"


@pytest.fixture
def table(tmp_path: Path):
    def write(text: str, name: str = "cells.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_rows_are_put_together_by_field(table) -> None:
    found = read_cell_table(table(BOXES + "a,1,0,1,5,6,9,x\nb,1,2,2,3,3,,\na,7,4,4,8,9,20,\n"))
    assert [(row.line, row.name, row.box, row.area_px) for row in found["a"].rows] == [
        (2, "1", (0, 1, 5, 6), 9),
        (4, "7", (4, 4, 8, 9), 20),
    ]
    assert [row.box for row in found["b"].rows] == [(2, 2, 3, 3)]


def test_width_and_height_make_the_same_box_as_its_edges(table) -> None:
    edges = read_cell_table(table("fov,top,left,bottom,right\na,2,3,10,20\n"))
    corner = read_cell_table(table("fov,x,y,width,height\na,3,2,17,8\n"))
    assert edges["a"].rows[0].box == corner["a"].rows[0].box == (2, 3, 10, 20)


def test_parquet_with_numbers_gives_what_the_csv_gives(table, tmp_path: Path) -> None:
    columns = {"fov": ["a", "a"], "cell": [1.0, 2.0], "y": [1.5, 2.0], "x": [3, 4], "localizations": [["er"], []],
               "annotated_by": ["JD", None]}  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "cells.parquet")
    parquet = read_cell_table(tmp_path / "cells.parquet")["a"].rows
    text = read_cell_table(table("fov,cell,y,x,localizations,annotated_by\na,1.0,1.5,3,er,JD\na,2,2,4,,\n"))["a"].rows
    assert [(r.name, r.centroid, r.localizations, r.annotated_by) for r in parquet] == [
        (r.name, r.centroid, r.localizations, r.annotated_by) for r in text
    ]
    assert [r.name for r in text] == ["1", "2"]  # pandas writes 1.0 where a cell of the column is empty


def test_own_labels_inherited_ones_and_nothing_to_see_are_three_things(table) -> None:
    text = "fov,cell,y,x,localizations,annotated_by\na,1,1,1,er;golgi,JD\na,2,1,1,,JD\na,3,1,1,,\n"
    rows = read_cell_table(table(text))["a"].rows
    assert [(r.localizations, r.annotated_by) for r in rows] == [(("er", "golgi"), "JD"), ((), "JD"), (None, None)]


def test_a_field_named_without_a_cell_has_none(table) -> None:
    found = read_cell_table(table("ImageId,EncodedPixels\na,\nb,1 3\n"))
    assert (found["a"].rows, found["a"].problem) == ([], None)
    assert found["b"].rows[0].runs == "1 3"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,1,0,0,4,4,,", "cell '1' stands in line 2 already"),
        ("a,,0,0,4,4,,", "the cell has no name (column 'cell' is empty)"),
        ("a,2,0,0,x,4,,", "bottom 'x' is not a number"),
        ("a,2,0,0,4.5,4,,", "bottom '4.5' is not a whole number of pixels"),
        ("a,2,0,0,nan,4,,", "bottom 'nan' is not a number"),
        ("a,2,0,0,1e30,4,,", "not a whole number of pixels"),
        ("a,2,0,0,,4,,", "its box is not whole: bottom empty"),
        ("a,2,4,0,4,4,,", "its box has no pixel: top 4, left 0, bottom 4, right 4"),
        ("a,2,0,0,4,4,17,", "an area of 17 px in a box of 4 x 4 px"),
        ("a,2,0,0,4,4,0,", "an area of 0 px"),
    ],
)
def test_a_row_that_makes_no_cell_spoils_its_field_only(row: str, problem: str, table) -> None:
    path = table(BOXES + f"a,1,0,0,4,4,,\n{row}\na,9,0,0,4,4,,\nb,1,0,0,4,4,,\n")
    found = read_cell_table(path)
    assert found["a"].problem == f"{path} line 3, field 'a': {problem}" or (
        found["a"].problem.startswith(f"{path} line 3, field 'a': ") and problem in found["a"].problem
    )
    assert (found["b"].problem, len(found["b"].rows)) == (None, 1)


def test_labels_without_an_annotator_are_nobodys(table) -> None:
    found = read_cell_table(table("fov,y,x,localizations,annotated_by\na,1,1,er,\n"))
    assert found["a"].problem.endswith("localizations 'er' without annotated_by: whose are they?")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,1,0,0", "line 2: 4 cells, but the header has 8"),
        (",1,0,0,4,4,,", r"line 2: names no field of view \(column fov is empty\)"),
    ],
)
def test_a_line_that_belongs_to_no_field_stops_the_reading(row: str, reason: str, table) -> None:
    with pytest.raises(InputError, match=f"cells.csv {reason}"):
        read_cell_table(table(BOXES + row + "\n"))


def test_the_digest_follows_what_is_read_and_nothing_else(table) -> None:
    one = read_cell_table(table(BOXES + "a,1,0,0,4,4,,\nb,1,0,0,4,4,,\n"))
    same = read_cell_table(table(BOXES + "b,1,0,0,9,9,,\na,1,0,0,4,4,,another note\n"))
    moved = read_cell_table(table(BOXES + "a,1,0,0,4,5,,\n"))
    more = read_cell_table(table(BOXES + "a,1,0,0,4,4,,\na,2,0,0,4,4,,\n"))
    assert one["a"].digest == one["b"].digest == same["a"].digest
    assert len({one["a"].digest, same["b"].digest, moved["a"].digest, more["a"].digest}) == 4
