"""Filters against plain Python on the same rows."""

import operator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.asking.filters import Filter, apply, parse


@pytest.fixture
def table() -> pa.Table:
    return pa.table(
        {
            "protein": ["LMNB1", "ACTB", None, "lmna", 'O\'Neil "x"; DROP TABLE cells --'],
            "pixel_size_um": [0.1, 0.2, None, 0.3, float("nan")],
            "height": [600, 700, 800, None, 10],
            "localizations": [["er"], ["er", "golgi"], [], None, ["nuclear_membrane"]],
            "touches_border": [True, False, None, True, False],
            "plate": pa.array(["a", "b", None, "a", "a"]).dictionary_encode(),
        }
    )


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("protein=LMNB1", [0]),
        ("protein==LMNB1", [0]),
        (" protein = LMNB1", [0]),
        ("protein!=LMNB1", [1, 3, 4]),
        ("protein~lmn", [0, 3]),
        ('protein=O\'Neil "x"; DROP TABLE cells --', [4]),
        ("protein=.*", []),
        ("protein~.*", []),
        ("protein~%", []),
        ("protein<B", [1]),
        ("pixel_size_um<0.3", [0, 1]),
        ("pixel_size_um<=3e-1", [0, 1, 3]),
        ("pixel_size_um=0.2", [1]),
        ("height>=700", [1, 2]),
        ("height>9", [0, 1, 2, 4]),  # as text, 600 < 9
        ("height!=600", [1, 2, 4]),
        ("localizations=er", [0, 1]),
        ("localizations!=er", [2, 4]),
        ("localizations~membrane", [4]),
        ("localizations=membrane", []),
        ("touches_border=true", [0, 3]),
        ("touches_border!=True", [1, 4]),
        ("plate=a", [0, 3, 4]),
        ("protein=", []),
    ],
)
def test_each_operator_picks_the_rows_one_expects(table: pa.Table, text: str, rows: list[int]) -> None:
    assert np.flatnonzero(apply(table, [parse(text)])).tolist() == rows


def test_all_filters_must_hold_and_none_holds_for_all(table: pa.Table) -> None:
    assert np.flatnonzero(apply(table, [parse("plate=a"), parse("height<=600")])).tolist() == [0, 4]
    assert apply(table, []).tolist() == [True] * 5
    assert apply(table.slice(0, 0), [parse("plate=a")]).tolist() == []


def test_an_unknown_column_lists_those_that_exist(table: pa.Table) -> None:
    with pytest.raises(UnknownNameError, match="unknown column 'gene'; known: height, localizations, pixel_size_um"):
        apply(table, [parse("gene=LMNB1")])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("height=tall", "'tall' is none"),
        ("height<nan", "NaN"),
        ("localizations<er", "holds lists"),
        ("touches_border=maybe", "touches_border is true or false: write touches_border=true"),
        ("touches_border<true", "touches_border is true or false: write touches_border=true"),
    ],
)
def test_a_value_that_does_not_fit_the_column_is_refused(table: pa.Table, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        apply(table, [parse(text)])


@pytest.mark.parametrize("text", ["", "protein", "=LMNB1", "  =x", "~"])
def test_text_without_column_or_operator_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="needed"):
        parse(text)


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(InputError, match="operator"):
        Filter("protein", "LIKE", "x")  # type: ignore[arg-type]


values = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["'", '"', "a' OR '1'='1", "x\ny", "=", "!=b", "<", "\\", "%", "_", "é", "e\u0301", "\x00", "*", "(", "日本"]
)


@given(st.lists(values | st.none(), min_size=1, max_size=6), values, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
@settings(deadline=None)
def test_any_text_is_only_ever_compared(column: list[str | None], value: str, op: str) -> None:
    compare = {
        "=": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
    table = pa.table({"name": pa.array(column, pa.string()), "many": pa.array([[v] if v else None for v in column])})
    expected = [v is not None and compare[op](v.encode(), value.encode()) for v in column]
    assert apply(table, [Filter("name", op, value)]).tolist() == expected  # type: ignore[arg-type]
    assert apply(table, [Filter("many", "=", value)]).tolist() == [bool(v) and v == value for v in column]


@given(values, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~"]))
def test_the_value_of_a_parsed_filter_is_what_stands_after_the_operator(value: str, op: str) -> None:
    if value[:1] in "=<>!~" or value != value.lstrip():
        value = "v" + value
    found = parse(f"column{op}{value}")
    assert (found.column, found.op, found.value) == ("column", op, value)
    assert parse(str(found)) == found
