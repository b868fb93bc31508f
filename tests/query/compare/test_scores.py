"""Paired intervals against a bootstrap that really repeats rows, and what pairing is for."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from locatlas.query.compare.scores import PairedScores, mean_interval, paired_scores

CLASSES = ("a", "b", "c")
SEED, REPLICATES = 3, 60  # fewer than the draws that are made at once, so that one draw of the generator is all


def one_hot(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    return codes[:, None] == np.arange(len(CLASSES))


def made(rng: np.random.Generator, n_groups: int, *, rare: bool) -> tuple[NDArray[np.int64], ...]:
    """Targets and two predictions; with `rare`, class c is in two groups only."""
    groups = np.repeat(np.arange(n_groups), 12)
    targets = np.tile(np.arange(12) % (2 if rare else 3), n_groups)
    if rare:
        targets[:3], targets[12:14] = 2, 2
    new = np.where(rng.random(len(targets)) < 0.8, targets, rng.integers(0, 3, len(targets)))
    old = np.where(rng.random(len(targets)) < 0.6, targets, rng.integers(0, 3, len(targets)))
    return groups, targets, new, old


def scores(groups: NDArray[np.int64], targets: NDArray[np.int64], new: NDArray[np.int64], old: NDArray[np.int64]) -> (
    PairedScores
):  # fmt: skip
    tables = [one_hot(codes) for codes in (targets, new, old)]
    return paired_scores(*tables, groups, CLASSES, n_replicates=REPLICATES, seed=SEED)


def test_intervals_are_those_of_rows_of_the_same_drawn_groups(rng: np.random.Generator) -> None:
    groups, targets, new, old = made(rng, 7, rare=False)
    found = scores(groups, targets, new, old)
    macro, of_class = [], []
    for drawn in np.random.default_rng(SEED).integers(7, size=(REPLICATES, 7)):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        pair = [f1_score(targets[rows], codes[rows], average=None, labels=[0, 1, 2]) for codes in (new, old)]
        macro.append(pair[0].mean() - pair[1].mean())
        of_class.append(pair[0] - pair[1])
    assert found.macro_f1.ci95 == pytest.approx(tuple(np.quantile(macro, [0.025, 0.975])))
    for place, name in enumerate(CLASSES):
        bounds = tuple(np.quantile(np.array(of_class)[:, place], [0.025, 0.975]))
        assert found.per_class_f1[name].ci95 == pytest.approx(bounds)
        assert found.per_class_f1[name].new == pytest.approx(f1_score(targets == place, new == place))


def test_a_rare_class_is_judged_by_the_replicates_that_draw_it(rng: np.random.Generator) -> None:
    groups, targets, new, old = made(rng, 6, rare=True)
    found = scores(groups, targets, new, old).per_class_f1["c"]
    differences = []
    for drawn in np.random.default_rng(SEED).integers(6, size=(REPLICATES, 6)):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        if (targets[rows] == 2).any():
            pair = [f1_score(targets[rows] == 2, codes[rows] == 2, zero_division=0) for codes in (new, old)]
            differences.append(pair[0] - pair[1])
    assert 0 < len(differences) < REPLICATES
    assert found.ci95 == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    assert (found.n_groups, found.support) == (2, 5)


def test_a_class_of_one_group_and_a_single_group_have_no_interval(rng: np.random.Generator) -> None:
    groups, targets, new, old = made(rng, 5, rare=True)
    targets[12:14] = 0
    found = scores(groups, targets, new, old)
    assert found.per_class_f1["c"].ci95 is None
    assert found.per_class_f1["a"].ci95 is not None
    alone = scores(np.zeros_like(groups), targets, new, old)
    assert alone.macro_f1.ci95 is None
    assert mean_interval(np.ones(4, np.int64), 2, np.zeros(4, np.int64)) is None


def test_pairing_cancels_what_is_hard_for_both() -> None:
    """Both are wrong on the same hard groups and differ on one row a group: the difference hardly varies."""
    groups = np.repeat(np.arange(20), 10)
    targets = np.tile([0, 1], 100)
    old = np.where(groups % 2 == 0, targets, 1 - targets)
    new = old.copy()
    new[9::10] = targets[9::10]
    tables = [codes[:, None] == np.arange(2) for codes in (targets, new, old)]
    found = paired_scores(*tables, groups, ("a", "b"), seed=1).macro_f1
    assert found.ci95 is not None
    low, high = found.ci95
    assert 0 < low < found.new - found.old < high
    each = []
    for drawn in np.random.default_rng(0).integers(20, size=(200, 20)):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        each.append(f1_score(targets[rows], old[rows], average="macro"))
    assert high - low < 0.25 * (np.quantile(each, 0.975) - np.quantile(each, 0.025))


def test_the_interval_of_the_overlap_is_that_of_rows_of_drawn_groups(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(6), [2, 5, 3, 8, 1, 4])
    common = rng.integers(0, 11, len(groups))
    means = []
    for drawn in np.random.default_rng(SEED).integers(6, size=(REPLICATES, 6)):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        means.append(common[rows].mean() / 10)
    found = mean_interval(common, 10, groups, n_replicates=REPLICATES, seed=SEED)
    assert found == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
