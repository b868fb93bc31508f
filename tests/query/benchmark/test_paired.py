"""Paired differences against a hand-made recomputation, and what p and the detectable difference promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import f1_score

from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.corrections import holm
from locatlas.query.benchmark.paired import compare_all, compare_pair, detectable_se
from locatlas.query.benchmark.permutation import smallest_p, swaps_needed
from locatlas.query.benchmark.scored import Scored
from locatlas.query.scores.metrics import Counts


def cell(mapping: str = "natural", seed: int = 0, **said: object) -> Cell:
    whole = {
        "encoder": "e", "mapping": mapping, "mapping_seed": None, "passes": "joint", "level": "fov",
        "protocol": "protein-out", "k": 5, "votes": "uniform", "seed": seed,
    }  # fmt: skip
    return Cell(**{**whole, **said})


def made(target: np.ndarray, predicted: np.ndarray, groups: np.ndarray, measured: Cell) -> Scored:
    n_groups, n_classes = int(groups.max()) + 1, int(max(target.max(), predicted.max())) + 1
    hot = np.eye(n_classes, dtype=bool)
    counts = Counts.by_group(hot[target], hot[predicted], groups, n_groups)
    right = np.bincount(groups, weights=target == predicted, minlength=n_groups).astype(int)
    return Scored(
        cell=measured, fingerprint="f", data_digest="d", classes=tuple(f"c{i}" for i in range(n_classes)),
        groups=tuple(f"g{i:03}" for i in range(n_groups)), counts=counts, n_right=right,
        n_rows=np.bincount(groups, minlength=n_groups), n_references=1.0,
    )  # fmt: skip


def drawn(seed: int, n_groups: int, each: int, quality: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), each)
    target = groups % 3
    predicted = np.where(rng.random(len(groups)) < quality, target, rng.integers(0, 3, len(groups)))
    return target, predicted, groups


def test_for_few_groups_p_is_the_share_of_all_exchanges() -> None:
    target, one, groups = drawn(0, 6, 4, 0.9)
    _, other, _ = drawn(1, 6, 4, 0.4)
    found = compare_pair([made(target, one, groups, cell())], [made(target, other, groups, cell("random"))])
    gap = f1_score(target, one, average="macro") - f1_score(target, other, average="macro")
    assert found.difference == pytest.approx(gap)
    hits = 0
    for swap in itertools.product([False, True], repeat=6):
        at = np.array(swap)[groups]
        first, second = np.where(at, other, one), np.where(at, one, other)
        null = f1_score(target, first, average="macro") - f1_score(target, second, average="macro")
        hits += abs(null) >= abs(gap) - 1e-12
    assert found.p == pytest.approx(hits / 64)


def test_equal_encoders_have_p_one_and_no_difference() -> None:
    target, one, groups = drawn(0, 30, 3, 0.7)
    found = compare_pair(
        [made(target, one, groups, cell())], [made(target, one, groups, cell("random"))], n_permutations=200
    )
    assert (found.difference, found.p, found.ci95, found.detectable) == (0, 1, (0, 0), 0)


def test_one_group_has_neither_interval_nor_test() -> None:
    target, one, groups = drawn(0, 1, 5, 0.5)
    found = compare_pair([made(target, one, groups, cell())], [made(target, target, groups, cell("random"))])
    assert (found.ci95, found.p, found.detectable) == (None, None, None)


def test_under_the_null_small_p_are_as_rare_as_they_say() -> None:
    """100 pairs of encoders of equal quality: about 5 below 0.05; more than 12 has a chance of one in a thousand."""
    below = 0
    for trial in range(100):
        target, one, groups = drawn(2 * trial, 24, 2, 0.6)
        _, other, _ = drawn(2 * trial + 1, 24, 2, 0.6)
        pair = [made(target, p, groups, cell(m)) for p, m in ((one, "natural"), (other, "random"))]
        p = compare_pair([pair[0]], [pair[1]], n_replicates=2, n_permutations=199).p
        below += p is not None and p < 0.05
    assert below <= 12


def test_a_detectable_difference_is_found_four_times_in_five() -> None:
    """Encoders that differ by about the detectable difference: the interval leaves 0 out in most of 60 trials."""
    found = sizes = 0
    gaps = []
    for trial in range(60):
        target, one, groups = drawn(3 * trial, 60, 2, 0.78)
        _, other, _ = drawn(3 * trial + 1, 60, 2, 0.62)
        gap = compare_pair(
            [made(target, one, groups, cell())], [made(target, other, groups, cell("random"))], n_replicates=200,
            n_permutations=1,
        )  # fmt: skip
        assert gap.ci95 is not None
        assert gap.detectable is not None
        gaps.append(gap.difference)
        sizes += gap.detectable
        found += gap.ci95[0] > 0 or gap.ci95[1] < 0
    mean_gap, detectable = np.mean(gaps), sizes / 60
    # normal theory: power = P(Z > 1.96 - 2.8 gap / detectable)
    expected = norm.sf(1.96 - detectable_se() * mean_gap / detectable)
    assert abs(found / 60 - expected) < 0.2


def test_holm_by_hand() -> None:
    # sorted 0.01 x 3, 0.02 x 2, 0.04 x 1; the last is raised to the one before
    assert holm([0.02, None, 0.01, 0.04]) == pytest.approx([0.04, None, 0.03, 0.04], nan_ok=True)
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    adjusted = holm(list(p_values))
    level = 0.05
    order = np.argsort(p_values, kind="stable")
    rejected = set()
    for rank, i in enumerate(order):
        if p_values[i] * (len(p_values) - rank) > level:
            break
        rejected.add(int(i))
    assert {i for i, p in enumerate(adjusted) if p is not None and p <= level} == rejected


def test_pairs_are_made_of_what_differs_in_the_plan_alone() -> None:
    target, one, groups = drawn(0, 12, 2, 0.8)
    cells = [cell("natural", k=k) for k in (1, 5)]
    cells += [cell("random", k=k, mapping_seed=s) for k in (1, 5) for s in (0, 1)]
    scored = [made(target, drawn(i, 12, 2, 0.8)[1], groups, c) for i, c in enumerate(cells)]
    found = compare_all(scored, k=5, votes="uniform", n_replicates=10).pairs
    assert [(p.first, p.second, p.where["k"], p.n_groups) for p in found] == [
        ("e, natural, joint", "e, random, joint", 5, 12)
    ]
    by_hand = scored[1].macro_f1 - np.mean([scored[4].macro_f1, scored[5].macro_f1])
    assert found[0].difference == pytest.approx(by_hand)
    assert len(compare_all(scored, n_replicates=10).pairs) == 2
    assert one is not None


def test_seeds_are_averaged_before_they_are_compared() -> None:
    target, _, groups = drawn(0, 12, 2, 0.8)
    first = [made(target, drawn(s, 12, 2, 0.9)[1], groups, cell(seed=s)) for s in (0, 1)]
    second = [made(target, drawn(s + 9, 12, 2, 0.5)[1], groups, cell("random", seed=s)) for s in (0, 1, 2)]
    found = compare_all([*first, *second], n_replicates=10).pairs
    assert found[0].n_seeds == 2  # the third has no partner
    by_hand = np.mean([x.macro_f1 for x in first]) - np.mean([x.macro_f1 for x in second[:2]])
    assert found[0].difference == pytest.approx(by_hand)


def test_encoders_that_scored_other_rows_of_the_same_groups_are_not_compared_which_is_told() -> None:
    target, one, groups = drawn(0, 12, 2, 0.8)
    _, other, _ = drawn(1, 12, 2, 0.5)
    whole = made(target, one, groups, cell())
    fewer = made(target[1:], other[1:], groups[1:], cell("random"))  # one image has no vector
    relabelled = made((target + (groups == 3)) % 3, other, groups, cell("replicate"))
    assert fewer.groups == relabelled.groups == whole.groups
    found = compare_all([whole, fewer, relabelled], n_replicates=10)
    assert found.pairs == []
    assert found.notes == ["3 pairs of encoders or plans are not compared: they did not score the same rows"]


def test_encoders_without_a_seed_in_common_are_not_compared_which_is_told() -> None:
    target, one, groups = drawn(0, 12, 2, 0.8)
    pair = [made(target, one, groups, cell(seed=0)), made(target, one, groups, cell("random", seed=1))]
    found = compare_all(pair, n_replicates=10)
    assert found.pairs == []
    assert found.notes == ["1 pairs of encoders or plans are not compared: they have no seed in common"]


def test_random_plans_of_other_numbers_of_orders_are_compared_by_the_means_of_all() -> None:
    target, _, groups = drawn(0, 12, 2, 0.8)
    some = [made(target, drawn(s, 12, 2, 0.9)[1], groups, cell("random", mapping_seed=s)) for s in (0, 1)]
    more = [
        made(target, drawn(s + 9, 12, 2, 0.5)[1], groups, cell("random", mapping_seed=s, encoder="f"))
        for s in (0, 1, 2)
    ]
    (found,) = compare_all([*some, *more], n_replicates=10).pairs
    by_hand = np.mean([x.macro_f1 for x in some]) - np.mean([x.macro_f1 for x in more])
    assert found.difference == pytest.approx(by_hand)


def test_where_the_k_exceeds_the_references_the_largest_that_does_not_is_compared() -> None:
    target, _, groups = drawn(0, 12, 2, 0.8)
    scored = [
        made(target, drawn(i, 12, 2, 0.8)[1], groups, cell(mapping, k=k))
        for i, (mapping, k) in enumerate(itertools.product(("natural", "random"), (1, 5)))
    ]
    assert [one.where["k"] for one in compare_all(scored, k=10, n_replicates=10).pairs] == [5]


def test_many_comparisons_take_so_many_swaps_that_one_can_still_be_found() -> None:
    assert swaps_needed(1) == swaps_needed(50) == 10_000
    for m in (100, 1000):
        assert holm([smallest_p(60, swaps_needed(m)), *[1.0] * (m - 1)])[0] < 0.05 / 9


def test_a_true_difference_among_many_comparisons_is_found() -> None:
    """45 pairs of ten plans of which one is right: p of 100 swaps, 0.0099 at best, could not pass the correction."""
    target, _, groups = drawn(0, 40, 2, 0.8)
    scored = [
        made(target, target if i == 0 else drawn(i, 40, 2, 0.3)[1], groups, cell(encoder=f"e{i}")) for i in range(10)
    ]
    found = compare_all(scored, n_replicates=20, n_permutations=100)
    assert all(one.p_holm < 0.05 for one in found.pairs if one.first.startswith("e0"))
    assert found.notes == []


def test_comparisons_of_too_few_groups_to_find_anything_are_told() -> None:
    target, _, groups = drawn(0, 5, 4, 0.9)
    scored = [made(target, (target + i) % 3, groups, cell(encoder=f"e{i}")) for i in range(2)]  # right, and never right
    found = compare_all(scored, n_replicates=10)
    # all 32 exchanges: two of them, none and all, are as large as the largest
    assert found.pairs[0].p == pytest.approx(2 / 32)
    assert found.notes == [
        "1 of 1 comparisons are of so few groups (from 5 on) that p stays at or above 0.05 after correction, whatever "
        "the difference"
    ]


def test_p_after_more_swaps_is_that_of_all_swaps_by_hand() -> None:
    target, one, groups = drawn(0, 13, 3, 0.9)
    _, other, _ = drawn(1, 13, 3, 0.45)
    pair = [made(target, p, groups, cell(m)) for p, m in ((one, "natural"), (other, "random"))]
    found = compare_pair([pair[0]], [pair[1]], n_replicates=2, n_permutations=10_500)
    tables = np.stack([one == target, other == target])
    assert tables.mean(axis=1)[0] > tables.mean(axis=1)[1]
    hits = 0
    for swap in itertools.product([False, True], repeat=13):
        at = np.array(swap)[groups]
        first, second = np.where(at, other, one), np.where(at, one, other)
        null = f1_by_hand(target, first) - f1_by_hand(target, second)
        hits += abs(null) >= abs(found.difference) - 1e-12
    assert found.p == pytest.approx(hits / 2**13, abs=0.004)


def f1_by_hand(target: np.ndarray, predicted: np.ndarray) -> float:
    each = []
    for c in range(3):
        right = ((target == c) & (predicted == c)).sum()
        each.append(2 * right / ((target == c).sum() + (predicted == c).sum()))
    return float(np.mean(each))


def test_the_detectable_difference_is_corrected_for_the_number_of_comparisons() -> None:
    assert detectable_se() == pytest.approx(norm.isf(0.025) + norm.isf(0.2))
    assert detectable_se(30) == pytest.approx(norm.isf(0.025 / 30) + norm.isf(0.2))
    target, _, groups = drawn(0, 30, 2, 0.8)
    scored = [made(target, drawn(i, 30, 2, 0.6)[1], groups, cell(encoder=f"e{i}")) for i in range(3)]
    three = compare_all(scored, n_replicates=50, n_permutations=10).pairs[0]
    alone = compare_all(scored[:2], n_replicates=50, n_permutations=10).pairs[0]
    assert three.detectable / alone.detectable == pytest.approx(detectable_se(3) / detectable_se(1))
