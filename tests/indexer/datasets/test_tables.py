"""Tables as they come from Excel, pandas and half-finished downloads."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.indexer.datasets.tables import find_table, open_table


def cells(path: Path) -> list[dict[str, str]]:
    return [row.values for row in open_table(path).rows() if row.problem is None]


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_line_end_and_byte_order_mark(delimiter, newline, encoding, make) -> None:
    text = newline.join(["", " gene , n ", "", "β-catenin,1", " , ", '"a, ""b""",2', ""])
    if delimiter == "\t":
        text = text.replace('"a, ""b"""', "§").replace(",", "\t").replace("§", '"a, ""b"""')
    path = make("t.csv", text.encode(encoding))
    assert cells(path) == [{"gene": "β-catenin", "n": "1"}, {"gene": 'a, "b"', "n": "2"}]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(
    st.lists(st.lists(texts, min_size=2, max_size=2).filter(lambda r: any(c.strip() for c in r)), max_size=5),
    st.sampled_from(",\t"),
)
def test_what_csv_writes_comes_back_trimmed(rows: list[list[str]], delimiter: str) -> None:
    import tempfile

    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([["a", "b"], *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_bytes(out.getvalue().encode())
        assert [list(values.values()) for values in cells(path)] == [[c.strip() for c in row] for row in rows]


def test_rows_of_another_length_are_problems_with_their_line(make) -> None:
    table = open_table(make("t.csv", "a,b\n1,2\n3\n\n4,5,6\n7,8"))
    assert [(row.line, row.problem) for row in table.rows()] == [
        (2, None),
        (3, "1 cells, but the header has 2"),
        (5, "3 cells, but the header has 2"),
        (6, None),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the table is empty"),
        (b"\n \n", "the table is empty"),
        (b"a,b,a\n", "column 'a' appears 2 times"),
        (b"a,,\n", "column '' appears 2 times"),
        (b"a;b\n1;2\n", "semicolons"),
        (b"b,c\n", "missing column a; columns: b, c"),
        (b"a,b\n1,\xff\n", "not UTF-8"),
        (b'a,b\n1,"2\n3,4\n', "broken after line"),
        (b"\xff\xfea", "not UTF-8"),
        (b'a,b\n1,"2"x\n', "broken after line 1"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line_with_its_name(data: bytes, reason: str, make) -> None:
    path = make("t.csv", data)
    with pytest.raises(InputError, match=rf"t\.csv: .*{reason}") as caught:
        list(open_table(path, required=("a",)).rows())
    assert "\n" not in str(caught.value)


def test_parquet_gives_the_same_text(make, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "id": ["x", "y"],
            "labels": [["golgi", "er"], None],
            "size": [0.25, float("nan")],
            "n": pa.array([1.0, None]),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    assert cells(path) == [
        {"id": "x", "labels": "golgi;er", "size": "0.25", "n": "1", "kind": "a"},
        {"id": "y", "labels": "", "size": "", "n": "", "kind": "b"},
    ]


def test_a_damaged_parquet_file_and_odd_types_are_told(make, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [b"\xff"], "b": [{"x": 1}]}), path)
    (row,) = open_table(path).rows()
    assert "column 'a' holds bytes" in (row.problem or "")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="not a Parquet file"):
        open_table(path)


def test_the_nearest_table_that_fits_is_found(make, tmp_path: Path) -> None:
    make("deep/down/a.csv", "x,y\n")
    near = make("b.tsv", "x\ty\n")
    make("a.csv", "broken;\n")
    make("c.csv", "z\n")
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert find_table(files, lambda columns: {"x", "y"} <= set(columns)) == near
    assert find_table(files, lambda columns: "none" in columns) is None
