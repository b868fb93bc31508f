"""Votes of cells put together, against fractions by hand and plain Python."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.answers.aggregate import aggregate, join_groups

# four cells of unit 0, two of unit 1, one of no unit, one of unit 1 without any vote; unit 2 has no cell
SCORES = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.2, 0.8, 0.0],
        [0.6, 0.4, 0.0],
        [0.0, 0.3, 0.7],
        [0.5, 0.5, 0.0],
        [0.0, 0.0, 1.0],
        [1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0],
    ]
)
TOPS = np.array([0, 1, 0, 2, 1, 2, 0, -1])
UNITS = np.array([0, 0, 0, 0, 1, 1, -1, 1])


@pytest.mark.parametrize(
    ("how", "top", "first", "second"),
    [
        ("mean", 0.25, [1.7 / 4, 1.6 / 4, 0.7 / 4], [0.25, 0.25, 0.5]),
        ("majority", 0.25, [2 / 4, 1 / 4, 1 / 4], [0, 1 / 2, 1 / 2]),
        ("top", 0.25, [0.9, 0.1, 0], [0, 0, 1]),
        ("top", 0.5, [1.1 / 2, 0.9 / 2, 0], [0, 0, 1]),
        ("top", 0.51, [1.1 / 3, 1.2 / 3, 0.7 / 3], [0.25, 0.25, 0.5]),
        ("top", 1.0, [1.7 / 4, 1.6 / 4, 0.7 / 4], [0.25, 0.25, 0.5]),
    ],
)
def test_scores_are_the_fractions_worked_by_hand(how: Any, top: float, first: list[float], second: list[float]) -> None:
    found = aggregate(SCORES, TOPS, UNITS, n_units=3, how=how, top=top)
    np.testing.assert_allclose(found.scores, [first, second, [0, 0, 0]], atol=1e-12)
    assert found.n.tolist() == [4, 2, 0]
    assert found.n_silent.tolist() == [0, 1, 0]
    assert found.counts.tolist() == [[2, 1, 1], [0, 1, 1], [0, 0, 0]]
    np.testing.assert_allclose(found.heterogeneity, [1 / 2, 1 / 2, np.nan])
    halves = 1.5 * math.log(2) / math.log(3)  # entropy of (1/2, 1/4, 1/4) in units of that of three equal classes
    np.testing.assert_allclose(found.entropy, [halves, math.log(2) / math.log(3), np.nan])
    assert found.top[2] == -1


def test_equal_classes_go_to_the_most_confident_cell_that_has_one_of_them() -> None:
    scores = np.array([[0.6, 0.4], [0.3, 0.7], [0.7, 0.3], [0.4, 0.6]])
    tops = scores.argmax(axis=1)
    assert aggregate(scores, tops, np.zeros(4, int), n_units=1, how="majority").top.tolist() == [1]
    # both 0.7: the earlier row decides; without the two, the later 0.6 loses to the earlier one
    assert aggregate(scores[[2, 1]], tops[[2, 1]], np.zeros(2, int), n_units=1, how="mean").top.tolist() == [0]
    assert aggregate(scores[[3, 0]], tops[[3, 0]], np.zeros(2, int), n_units=1, how="mean").top.tolist() == [1]


def test_sums_in_another_order_make_no_class_better() -> None:
    """0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in float64; the classes are equal all the same."""
    scores = np.array([[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]])
    found = aggregate(scores, np.array([1, 0, 0]), np.zeros(3, int), n_units=1)
    assert found.scores[0, 0] == found.scores[0, 1]
    assert found.top.tolist() == [1]  # the most confident cells have 0.3: the first of them votes for class 1


def test_cells_that_agree_have_no_heterogeneity_and_equal_shares_full_entropy() -> None:
    same = aggregate(np.tile([1.0, 0.0], (5, 1)), np.zeros(5, int), np.zeros(5, int), n_units=1)
    assert (same.heterogeneity[0], same.entropy[0]) == (0, 0)
    equal = aggregate(np.eye(4), np.arange(4), np.zeros(4, int), n_units=1)
    assert (equal.heterogeneity[0], equal.entropy[0]) == (0.75, pytest.approx(1))
    alone = aggregate(np.ones((2, 1)), np.zeros(2, int), np.zeros(2, int), n_units=1)
    assert (alone.heterogeneity[0], alone.entropy[0]) == (0, 0)


@given(st.data())
def test_every_unit_equals_plain_python(data: st.DataObject) -> None:
    n, n_classes, n_units = data.draw(st.tuples(st.integers(0, 12), st.integers(1, 4), st.integers(1, 3)))
    tenths = st.lists(st.integers(0, 10), min_size=n_classes, max_size=n_classes)
    scores = np.array(data.draw(st.lists(tenths, min_size=n, max_size=n)), dtype=float).reshape(n, n_classes) / 10
    tops = np.where(scores.max(axis=1) > 0, scores.argmax(axis=1), -1)
    units = np.array(data.draw(st.lists(st.integers(-1, n_units - 1), min_size=n, max_size=n)), dtype=int)
    how = data.draw(st.sampled_from(["mean", "majority", "top"]))
    share = data.draw(st.sampled_from([0.1, 0.25, 0.5, 1.0]))
    found = aggregate(scores, tops, units, n_units=n_units, how=how, top=share)
    for unit in range(n_units):
        cells = [i for i in range(n) if units[i] == unit and tops[i] >= 0]
        assert found.n[unit] == len(cells)
        if not cells:
            assert found.top[unit] == -1
            assert not found.scores[unit].any()
            continue
        votes = Counter(int(tops[i]) for i in cells)
        if how == "majority":
            expected = [votes[c] / len(cells) for c in range(n_classes)]
        else:
            ranked = sorted(cells, key=lambda i: -scores[i].max())  # stable
            used = cells if how == "mean" else ranked[: max(1, math.ceil(share * len(cells) - 1e-9))]
            expected = [sum(scores[i, c] for i in used) / len(used) for c in range(n_classes)]
        np.testing.assert_allclose(found.scores[unit], expected, atol=1e-11)
        assert found.scores[unit, found.top[unit]] == found.scores[unit].max()
        assert found.heterogeneity[unit] == pytest.approx(1 - max(votes.values()) / len(cells))
        if n_classes > 1:
            shares = [v / len(cells) for v in votes.values()]
            entropy = -sum(p * math.log(p) for p in shares) / math.log(n_classes)
            assert found.entropy[unit] == pytest.approx(entropy, abs=1e-12)


@pytest.mark.parametrize("top", [0, -0.1, 1.01, float("nan")])
def test_a_share_outside_of_its_range_is_refused(top: float) -> None:
    with pytest.raises(InputError, match="a share of the cells"):
        aggregate(SCORES, TOPS, UNITS, n_units=3, how="top", top=top)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="known: majority, mean, top"):
        aggregate(SCORES, TOPS, UNITS, n_units=3, how="median")  # type: ignore[arg-type]


def test_groups_that_share_a_unit_become_one() -> None:
    groups = np.array([0, 0, 1, 2, 3, 4, 4])
    units = np.array([0, 1, 1, 2, 2, 3, -1])
    assert join_groups(groups, units).tolist() == [0, 0, 0, 2, 2, 4, 4]
    assert join_groups(groups, np.full(7, -1)).tolist() == groups.tolist()
    chain = np.arange(6)
    assert join_groups(np.repeat(chain, 2)[1:-1], np.repeat(np.arange(5), 2)).tolist() == [0] * 10


def test_rounding_does_not_choose_among_cells_that_are_equally_sure() -> None:
    """Cells all of whose neighbors agree have a confidence of 1, but for the last bits of their similarities."""
    scores = np.array([[1.0 - 1e-8, 0.0], [0.0, 1.0], [0.0, 1.0 - 3e-8]])
    for order in ([0, 1, 2], [1, 0, 2]):
        tops = scores[order].argmax(axis=1)
        found = aggregate(scores[order], tops, np.zeros(3, dtype=np.int64), n_units=1, how="top", top=0.25)
        assert found.top.tolist() == [tops[0]]
