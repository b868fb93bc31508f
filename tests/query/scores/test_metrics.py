"""Metrics against hand-worked fractions and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.metrics import confusion_matrix as sk_confusion

from locatlas.query.scores.metrics import Counts, balanced_accuracy, confusion_matrix, f1, macro_f1, micro_f1


def test_hand_worked_fractions() -> None:
    # class 0: two rows, one found; class 1: one row, found, and one wrong claim; class 2: nobody has it, one claim
    targets = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0]], dtype=bool)
    counts = Counts.of(targets, predicted)
    assert (counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist()) == ([1, 1, 0], [0, 1, 1], [1, 0, 0])
    np.testing.assert_allclose(f1(counts), [2 / 3, 2 / 3, 0])
    assert macro_f1(counts) == pytest.approx((2 / 3 + 2 / 3) / 2)  # class 2 is not present
    assert micro_f1(counts) == pytest.approx(4 / (4 + 2 + 1))
    assert balanced_accuracy(counts) == pytest.approx((1 / 2 + 1) / 2)
    assert counts.support.tolist() == [2, 1, 0]


def test_a_class_never_predicted_has_f1_zero_and_counts() -> None:
    targets = np.eye(2, dtype=bool)
    assert macro_f1(Counts.of(targets, np.array([[1, 0], [1, 0]], dtype=bool))) == pytest.approx((2 / 3 + 0) / 2)


def test_without_any_target_macro_scores_are_nan() -> None:
    counts = Counts.of(np.zeros((3, 2), dtype=bool), np.ones((3, 2), dtype=bool))
    assert np.isnan(macro_f1(counts))
    assert np.isnan(balanced_accuracy(counts))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 5))
@settings(deadline=None)
def test_single_label_scores_equal_scikit_learn(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    targets, predicted = rng.integers(0, n_classes, n), rng.integers(0, n_classes, n)
    columns = np.arange(n_classes)
    counts = Counts.of(targets[:, None] == columns, predicted[:, None] == columns)
    options = {"zero_division": 0}
    present = np.unique(targets)
    assert macro_f1(counts) == pytest.approx(f1_score(targets, predicted, labels=present, average="macro", **options))
    assert micro_f1(counts) == pytest.approx(accuracy_score(targets, predicted))
    np.testing.assert_allclose(f1(counts), f1_score(targets, predicted, labels=columns, average=None, **options))
    recalls = [np.mean(predicted[targets == c] == c) for c in present]
    assert balanced_accuracy(counts) == pytest.approx(np.mean(recalls))
    if set(predicted) <= set(present) and len(present) > 1:  # scikit-learn warns otherwise
        assert balanced_accuracy(counts) == pytest.approx(balanced_accuracy_score(targets, predicted))
    ours = confusion_matrix(targets, predicted, n_classes)
    np.testing.assert_array_equal(ours[:, :-1], sk_confusion(targets, predicted, labels=columns))
    assert (ours[:, -1] == 0).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 5))
@settings(deadline=None)
def test_multi_label_scores_equal_scikit_learn(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    targets, predicted = rng.random((n, n_classes)) < 0.4, rng.random((n, n_classes)) < 0.4
    targets[0, 0] = True
    counts = Counts.of(targets, predicted)
    present = np.flatnonzero(targets.any(axis=0))
    options = {"zero_division": 0}
    assert macro_f1(counts) == pytest.approx(f1_score(targets, predicted, labels=present, average="macro", **options))
    assert micro_f1(counts) == pytest.approx(f1_score(targets, predicted, average="micro", **options))


def test_counts_by_group_sum_to_the_counts_of_all(rng: np.random.Generator) -> None:
    targets, predicted = rng.random((50, 4)) < 0.4, rng.random((50, 4)) < 0.4
    groups = rng.integers(0, 6, 50)
    by_group, whole = Counts.by_group(targets, predicted, groups, 7), Counts.of(targets, predicted)
    np.testing.assert_array_equal(by_group.summed().tp, whole.tp)
    np.testing.assert_array_equal(by_group.summed().fn, whole.fn)
    one = Counts.of(targets[groups == 2], predicted[groups == 2])
    np.testing.assert_array_equal(by_group.fp[2], one.fp)
    assert by_group.tp.shape == (7, 4)


def test_rows_without_prediction_stand_in_the_last_column() -> None:
    found = confusion_matrix(np.array([0, 0, 1]), np.array([1, -1, 1]), 2)
    assert found.tolist() == [[0, 1, 1], [0, 1, 0]]
