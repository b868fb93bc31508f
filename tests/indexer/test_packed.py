"""A packed list is a list: same items, same order, whatever its length."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from locatlas.indexer.packed import BLOCK, Packed


@given(st.lists(st.tuples(st.text(), st.integers(), st.dictionaries(st.text(), st.none() | st.binary()))))
def test_it_gives_back_what_it_was_given(items: list[object]) -> None:
    packed = Packed(items)
    assert list(packed) == items
    assert list(packed) == items  # each look begins anew
    assert len(packed) == len(items)
    assert all(item in packed for item in items)


@pytest.mark.parametrize("n", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_blocks_and_what_is_left_follow_each_other(n: int) -> None:
    packed = Packed(range(n))
    assert list(packed) == list(range(n))
    assert len(packed) == n
    assert bool(packed) == bool(n)
    assert n not in packed


def test_what_is_alike_is_kept_once() -> None:
    packed = Packed(
        {"path": f"/data/opencell/OC-FOV_GENE{i}.tif", "channels": ["nucleus", "protein"]} for i in range(2560)
    )
    assert sum(map(len, packed._blocks)) < 60 * len(packed)
