"""Agreement of labels: against loops over all pairs, and against an assignment that maximises what is matched."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from locatlas.indexer.cells.agreement import agreement, overlaps

labels = npst.arrays(np.int32, (6, 7), elements=st.integers(0, 5))


def slow_overlaps(true: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[np.float64]:
    rows = [n for n in sorted(set(true.ravel().tolist())) if n]
    columns = [n for n in sorted(set(found.ravel().tolist())) if n]
    out = np.zeros((len(rows), len(columns)))
    for i, a in enumerate(rows):
        for j, b in enumerate(columns):
            one, other = true == a, found == b
            out[i, j] = (one & other).sum() / (one | other).sum()
    return out


@given(true=labels, found=labels)
def test_overlaps_are_those_of_every_pair_looked_at_by_itself(
    true: NDArray[np.int32], found: NDArray[np.int32]
) -> None:
    np.testing.assert_allclose(overlaps(true, found), slow_overlaps(true, found))


@given(pairs=st.lists(st.tuples(labels, labels), max_size=3))
def test_matches_are_those_of_the_best_assignment(pairs: list[tuple[NDArray[np.int32], NDArray[np.int32]]]) -> None:
    n_matched, iou_sum = 0, 0.0
    for true, found in pairs:
        iou = slow_overlaps(true, found)
        iou[iou <= 0.5] = 0
        rows, columns = linear_sum_assignment(-iou)
        n_matched += int((iou[rows, columns] > 0).sum())
        iou_sum += float(iou[rows, columns].sum())
    score = agreement(pairs)
    assert score.n_matched == n_matched
    assert score.iou_sum == pytest.approx(iou_sum)
    assert score.n_true == sum(len(set(true.ravel().tolist()) - {0}) for true, _ in pairs)
    assert score.n_found == sum(len(set(found.ravel().tolist()) - {0}) for _, found in pairs)


def test_scores_are_the_fractions_worked_out_by_hand() -> None:
    true = np.array([[1, 1, 1, 0, 2, 2, 0, 7]], np.int32)
    found = np.array([[0, 4, 4, 0, 9, 0, 3, 0]], np.int32)  # 2 of 3, 1 of 2 (no more than a half), and one nowhere
    score = agreement([(true, found)])
    assert (score.n_true, score.n_found, score.n_matched) == (3, 3, 1)
    assert (score.precision, score.recall, score.f1) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert score.mean_iou == pytest.approx(2 / 3)


def test_nothing_drawn_and_nothing_found_agree_and_something_found_does_not() -> None:
    empty, one = np.zeros((2, 2), np.int32), np.ones((2, 2), np.int32)
    both = agreement([(empty, empty)])
    assert (both.precision, both.recall, both.f1) == (1, 1, 1)
    assert math.isnan(both.mean_iou)
    wrong = agreement([(empty, one)])
    assert (wrong.precision, wrong.recall, wrong.f1) == (0, 1, 0)


def test_labels_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(2, 3\)"):
        overlaps(np.zeros((2, 2), np.int32), np.zeros((2, 3), np.int32))
