"""Ids as rows of another column, against a dictionary."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from locatlas.indexer.store.aligned import is_ascending, one_array, rows_in

ids = st.lists(st.text(alphabet="ab/é猫", min_size=1, max_size=3), max_size=12)


@given(ids, ids, st.integers(0, 5))
def test_each_name_has_the_row_of_the_same_name_or_none(names: list[str], among: list[str], cut: int) -> None:
    among = sorted(set(among))
    place = {name: row for row, name in enumerate(among)}
    column = pa.array(among, pa.string())
    found = rows_in(pa.array(names, pa.string()), pa.chunked_array([column[:cut], column[cut:]]))
    assert found.tolist() == [place.get(name, -1) for name in names]
    assert rows_in(column, column).tolist() == list(range(len(among)))


@given(ids)
def test_text_is_ascending_exactly_if_sorting_leaves_it(names: list[str]) -> None:
    assert is_ascending(pa.array(names, pa.string())) == (sorted(names) == names)


def test_a_column_in_pieces_becomes_one() -> None:
    assert one_array(pa.chunked_array([["a"], ["b"]])).to_pylist() == ["a", "b"]
    assert one_array(pa.chunked_array([], pa.string())).to_pylist() == []
