"""Columns of lists of names as sets, against Python's own."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from locatlas.query.asking.label_sets import label_sets

NAMES = st.text(st.sampled_from('ab,;\x00"é'), max_size=3)
ROWS = st.lists(st.none() | st.lists(NAMES, max_size=4), max_size=12)


@given(ROWS, ROWS)
def test_as_python_would_and_equal_ones_shared(first, second):
    kind = pa.list_(pa.string())
    column = pa.chunked_array([pa.array(first, kind), pa.array(second, kind)]).slice(len(first) // 2)
    found = label_sets(column)
    assert found == [frozenset(row or ()) for row in column.to_pylist()]
    assert len({id(one) for one in found}) <= len({tuple(row or ()) for row in column.to_pylist()})


def test_no_rows_and_no_chunks():
    assert label_sets(pa.chunked_array([], pa.list_(pa.string()))) == []


def test_what_a_null_list_hides_is_not_another_row_s():
    hidden = pa.ListArray.from_arrays([0, 1, 2, 3], ["x", "y", "z"], mask=pa.array([False, True, False]))
    assert label_sets(pa.chunked_array([hidden])) == [{"x"}, frozenset(), {"z"}]
