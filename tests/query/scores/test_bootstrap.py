"""Bootstrap over groups against drawing the groups' rows one by one."""

import numpy as np
import pytest

from locatlas.errors import InputError
from locatlas.query.scores.bootstrap import bootstrap_intervals, replicate_statistics
from locatlas.query.scores.metrics import Counts, balanced_accuracy, macro_f1, micro_f1


def stacked(targets: np.ndarray, predicted: list[np.ndarray], groups: np.ndarray) -> Counts:
    n_groups = int(groups.max()) + 1
    each = [Counts.by_group(targets, one, groups, n_groups) for one in predicted]
    return Counts(*(np.stack([getattr(one, name) for one in each], axis=1) for name in ("tp", "fp", "fn")))


def labelled(rng: np.random.Generator, n: int, n_groups: int) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    groups = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, n - n_groups)])
    targets = (groups % 3)[:, None] == np.arange(3)
    noisy = [np.where(rng.random(n)[:, None] < p, targets, rng.permutation(targets)) for p in (0.5, 0.9)]
    return targets, noisy, groups


def test_the_distribution_equals_that_of_rows_drawn_by_group(rng: np.random.Generator) -> None:
    targets, predicted, groups = labelled(rng, 240, 24)
    fast = replicate_statistics(stacked(targets, predicted, groups), {"f": macro_f1}, n_replicates=4000)
    assert fast is not None
    slow = []
    members = [np.flatnonzero(groups == g) for g in range(24)]
    for _ in range(2000):
        rows = np.concatenate([members[g] for g in rng.integers(0, 24, 24)])
        slow.append([macro_f1(Counts.of(targets[rows], one[rows])) for one in predicted])
    tails = [0.025, 0.25, 0.5, 0.75, 0.975]
    # sd of the statistics is about 0.05 and 0.03, so that of a tail quantile of 2000 about 0.003
    np.testing.assert_allclose(np.quantile(fast["f"], tails, axis=0), np.quantile(slow, tails, axis=0), atol=0.015)


def test_equal_groups_leave_no_spread() -> None:
    targets = np.tile(np.eye(2, dtype=bool), (10, 1))
    predicted = targets.copy()
    predicted[1::2] = [True, False]
    counts = stacked(targets, [predicted], np.repeat(np.arange(10), 2))
    found = bootstrap_intervals(counts, {"f": macro_f1, "b": balanced_accuracy})
    assert found is not None
    np.testing.assert_allclose(found["f"], [[1 / 3, 1 / 3]])  # (2/3 + 0) / 2
    np.testing.assert_allclose(found["b"], [[1 / 2, 1 / 2]])


def test_a_replicate_is_scored_over_its_own_classes() -> None:
    """Two groups of one class each, all right: every replicate scores 1, also those that lack a class."""
    counts = stacked(np.eye(2, dtype=bool), [np.eye(2, dtype=bool)], np.array([0, 1]))
    values = replicate_statistics(counts, {"f": macro_f1}, n_replicates=50)
    assert values is not None
    np.testing.assert_array_equal(values["f"], 1)


def test_with_fixed_classes_a_rare_hard_class_does_not_lift_the_interval() -> None:
    """Nine easy groups of one class, one hard group of another: the score is (18/19 + 0) / 2 and stays in the middle.

    A replicate without the hard class scores 1 over its own classes; over the same classes as the data, 1/2.
    """
    targets = np.zeros((10, 2), dtype=bool)
    targets[:9, 0] = targets[9, 1] = True
    counts = stacked(targets, [np.tile([True, False], (10, 1))], np.arange(10))
    free = replicate_statistics(counts, {"f": macro_f1}, n_replicates=300)
    fixed = replicate_statistics(counts, {"f": macro_f1}, n_replicates=300, fixed_classes=True)
    assert free is not None
    assert fixed is not None
    assert free["f"].max() == 1
    assert fixed["f"].max() <= 1 / 2
    without = free["f"] == 1
    np.testing.assert_array_equal(fixed["f"][without], 1 / 2)
    np.testing.assert_array_equal(fixed["f"][~without], free["f"][~without])


def test_equal_seeds_give_equal_intervals_and_results_share_their_draws(rng: np.random.Generator) -> None:
    targets, (predicted, _), groups = labelled(rng, 100, 10)
    counts = stacked(targets, [predicted, predicted], groups)
    first, again, other = (bootstrap_intervals(counts, {"f": micro_f1}, seed=seed) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    np.testing.assert_array_equal(first["f"], again["f"])
    np.testing.assert_array_equal(first["f"][0], first["f"][1])
    assert (first["f"] != other["f"]).any()


def test_one_group_gives_no_interval() -> None:
    counts = stacked(np.ones((4, 1), dtype=bool), [np.ones((4, 1), dtype=bool)], np.zeros(4, dtype=np.int64))
    assert bootstrap_intervals(counts, {"f": macro_f1}) is None


def test_replicates_and_level_are_checked() -> None:
    counts = stacked(np.eye(2, dtype=bool), [np.eye(2, dtype=bool)], np.array([0, 1]))
    with pytest.raises(InputError, match="at least 1"):
        bootstrap_intervals(counts, {"f": macro_f1}, n_replicates=0)
    with pytest.raises(InputError, match="level"):
        bootstrap_intervals(counts, {"f": macro_f1}, level=1.0)
