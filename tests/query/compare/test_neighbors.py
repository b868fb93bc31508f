"""References that rows may meet, and agreement of neighbor lists, against plain counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.query.compare.neighbors import agreement, references_met
from locatlas.query.compare.result import moved_most
from locatlas.query.scores.protocols import hashed_order
from locatlas.types import Neighbors


@given(st.data())
def test_references_are_counted_as_by_looking_at_every_pair(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    n_codes = data.draw(st.integers(1, 3))
    codes = [np.array(data.draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n))) for _ in range(n_codes)]
    voting = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    expected = [sum(bool(voting[j]) and not any(c[i] == c[j] >= 0 for c in codes) for j in range(n)) for i in range(n)]
    assert references_met(codes, voting).tolist() == expected


def lists(*rows: list[int]) -> Neighbors:
    indices = np.array(rows, dtype=np.int64)
    return Neighbors(indices, np.zeros(indices.shape, dtype=np.float32))


def test_hand_worked_lists() -> None:
    one = lists([1, 2, 3, 4], [5, 6, 7, 8])
    other = lists([2, 1, 9, 3], [1, 2, 3, 4])
    found = agreement(one, other, 2)
    assert found.common.tolist() == [2, 0]
    # first row: 1 and 2 change places either way; second: all stand behind the four, at place 5
    assert found.rank_change.tolist() == [1.0, (4 + 3 + 4 + 3) / 4]


def test_a_short_list_has_its_end_where_its_references_end() -> None:
    found = agreement(lists([1, 2, -1]), lists([2, 3, -1]), 1)
    assert found.rank_change.tolist() == [((3 - 1) + (2 - 1)) / 2]


@given(st.data())
def test_agreement_is_the_same_either_way_round_and_whole_with_itself(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 5))
    width = data.draw(st.integers(1, 6))
    k = data.draw(st.integers(1, width))
    both = [lists(*(data.draw(st.permutations(range(9)))[:width] for _ in range(n))) for _ in range(2)]
    there, back = agreement(both[0], both[1], k), agreement(both[1], both[0], k)
    np.testing.assert_array_equal(there.common, back.common)
    np.testing.assert_allclose(there.rank_change, back.rank_change)
    own = agreement(both[0], both[0], k)
    assert (own.overlap == 1).all()
    assert (own.rank_change == 0).all()
    for row in range(n):
        shared = set(both[0].indices[row, :k]) & set(both[1].indices[row, :k])
        assert there.common[row] == len(shared)


def test_what_moved_most_comes_first_and_ties_follow_the_hash_of_the_name() -> None:
    names = [f"p{i}" for i in range(8)]
    same = agreement(lists(*[[1, 2]] * 8), lists(*[[1, 3]] * 8), 2)
    assert [one.name for one in moved_most(same, names)] == [sorted(names)[i] for i in hashed_order(sorted(names))]
    mixed = agreement(lists([1, 2], [1, 2], [1, 2], [1, 2]), lists([1, 2], [3, 4], [2, 1], [1, 3]), 2)
    moved = moved_most(mixed, ["still", "far", "turned", None])
    assert [(one.name, one.overlap) for one in moved] == [("far", 0), ("turned", 1), ("still", 1)]
    assert [one.n_rows for one in moved_most(mixed, ["a", "a", "b", "b"])] == [2, 2]
    assert moved_most(mixed, ["a", "a", "b", "b"])[0].overlap == pytest.approx(0.5)
