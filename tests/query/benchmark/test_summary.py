"""Means over seeds, their spread, and intervals over groups."""

import numpy as np
import pytest

from locatlas.query.benchmark.rows import from_row, tidy, to_row
from locatlas.query.benchmark.summary import summarize
from locatlas.query.scores.bootstrap import bootstrap_intervals
from locatlas.query.scores.metrics import Counts, macro_f1
from tests.query.benchmark.test_paired import cell, drawn, made


def test_seeds_make_one_row_with_mean_and_sample_sd() -> None:
    cells = []
    for seed in (0, 1, 2):
        target, predicted, groups = drawn(seed, 15, 3, 0.7)
        cells.append(made(target, predicted, groups, cell(seed=seed)))
    other = made(*drawn(9, 15, 3, 0.3), cell("random"))
    first, second = summarize([*cells, other], n_bootstrap=20)
    assert (len(first.cells), len(second.cells)) == (3, 1)
    values = [one.macro_f1 for one in cells]
    assert first.scores["macro_f1"].mean == pytest.approx(np.mean(values))
    assert first.scores["macro_f1"].sd == pytest.approx(np.std(values, ddof=1))
    assert second.scores["macro_f1"].sd is None
    assert first.per_class_f1["c0"] == pytest.approx(np.mean([one.per_class_f1[0] for one in cells]))
    accuracy = [one.accuracy for one in cells]
    assert first.scores["accuracy"].mean == pytest.approx(np.mean(accuracy))


def test_seeds_and_orders_of_a_random_plan_are_counted_apart() -> None:
    cells = [
        made(*drawn(seed, 15, 3, 0.7), cell("random", seed=seed, mapping_seed=order))
        for seed in (0, 1)
        for order in (0, 1, 2)
    ]
    row = summarize(cells, n_bootstrap=0)[0].to_dict()
    assert (row["n_seeds"], row["n_orders"], row["seeds"]) == (2, 3, [0, 1])


def test_the_interval_of_one_seed_is_the_sweeps() -> None:
    one = made(*drawn(0, 20, 3, 0.7), cell())
    found = summarize([one], n_bootstrap=300)[0].scores["macro_f1"].ci95
    counts = Counts(*(getattr(one.counts, part)[:, None] for part in ("tp", "fp", "fn")))
    expected = bootstrap_intervals(counts, {"f1": macro_f1}, n_replicates=300, fixed_classes=True)
    assert expected is not None
    assert found == pytest.approx(expected["f1"][0])


def test_seeds_that_hold_out_other_groups_are_put_together() -> None:
    target, predicted, groups = drawn(0, 10, 2, 0.8)
    half = groups < 5
    one = made(target[half], predicted[half], groups[half], cell(seed=0))
    rest = made(target[~half], predicted[~half], groups[~half] - 5, cell(seed=1))
    object.__setattr__(rest, "groups", tuple(f"h{i}" for i in range(5)))
    found = summarize([one, rest], n_bootstrap=50)[0]
    assert found.scores["macro_f1"].mean == pytest.approx((one.macro_f1 + rest.macro_f1) / 2)
    low, high = found.scores["macro_f1"].ci95 or (0, 0)
    assert 0 <= low <= high <= 1


def test_a_row_of_the_table_brings_back_what_was_measured() -> None:
    one = made(*drawn(0, 8, 2, 0.5), cell(settings=(("folds", 5), ("min_groups", 10)), stains=("protein",)))
    again = from_row(to_row(one, key="k", grid="g", versions={}))
    assert again.cell == one.cell
    assert again.groups == one.groups
    assert tidy(again) == tidy(one)
    assert np.array_equal(again.counts.fn, one.counts.fn)
    assert again.confusion is None
