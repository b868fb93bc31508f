"""Names as integers, against a dictionary and against sets of rows."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from locatlas.query.search.coding import Coding

names = st.lists(st.one_of(st.none(), st.text(alphabet="abé猫 1", max_size=3)), max_size=90)


@given(names, st.booleans())
def test_rows_have_one_code_exactly_if_they_have_one_name(column: list[str | None], chunked: bool) -> None:
    array = pa.array(column, pa.string())
    coding = Coding.of(pa.chunked_array([array[:3], array[3:]]) if chunked else array)
    known = sorted({name for name in column if name})
    assert coding.known.to_pylist() == known
    assert coding.of_row.tolist() == [known.index(name) if name else -1 for name in column]
    assert len(coding) == len(known)


@given(names, names)
def test_codes_of_names_are_their_places_whether_asked_for_one_by_one_or_together(
    column: list[str | None], asked: list[str | None]
) -> None:
    coding = Coding.of(pa.array(column, pa.string()))
    known = coding.known.to_pylist()
    wanted = [known.index(name) if name in known else -1 for name in asked]
    assert [coding.code(name) for name in asked] == wanted
    assert coding.codes(asked).tolist() == wanted
    assert coding.codes(asked * 65).tolist() == wanted * 65


def test_a_column_without_any_name_has_no_codes() -> None:
    coding = Coding.of(pa.nulls(3))
    assert coding.of_row.tolist() == [-1, -1, -1]
    assert coding.of_row.dtype == np.int64
    assert coding.code("a") == -1
