"""Samples are fair, repeatable, and follow no order of names."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.query.annotation.choice import (
    check_choice,
    choose_at_random,
    choose_least_certain,
    choose_per_class,
    margin,
    shuffled,
)

IDS = [f"x/{n}" for n in range(40)]
LABELLED = st.dictionaries(st.sampled_from(IDS), st.sets(st.sampled_from("abcd"), max_size=2), min_size=1)


@given(st.permutations(IDS), st.integers(1, 60), st.integers(0, 5))
def test_a_sample_depends_on_the_set_of_ids_and_the_seed_alone(order: list[str], n: int, seed: int) -> None:
    found = choose_at_random(order, n, seed=seed)
    assert found == choose_at_random(IDS, n, seed=seed)
    assert len(set(found)) == min(n, 40)
    assert found == choose_at_random(IDS, 40, seed=seed)[:n]


def test_every_id_is_chosen_alike() -> None:
    chosen = Counter(i for seed in range(400) for i in choose_at_random(IDS, 10, seed=seed))
    assert set(chosen) == set(IDS)
    # 400 draws with p = 1/4: mean 100, SD 8.7; the bounds are 5 SD away
    assert min(chosen.values()) > 56
    assert max(chosen.values()) < 144


@given(LABELLED, st.integers(1, 45), st.integers(0, 3))
def test_classes_are_spread_evenly_as_far_as_they_go(labelled: dict[str, set[str]], n: int, seed: int) -> None:
    chosen = choose_per_class(labelled, {}, n, seed=seed)
    assert len(set(chosen)) == len(chosen) == min(n, sum(bool(names) for names in labelled.values()))
    assert all(labelled[i] for i in chosen)
    taken = Counter(name for i in chosen for name in labelled[i])
    for name in "abcd":
        left = [i for i, names in labelled.items() if name in names and i not in chosen]
        alone = [i for i in chosen if len(labelled[i]) == 1]
        if left and len(alone) == len(chosen):
            # without images of several classes, one that still has members is at most one behind any other
            assert taken[name] >= max(taken.values(), default=0) - 1


def test_a_rare_class_is_taken_whole_and_leaves_the_rest_to_the_others() -> None:
    labelled = {i: {"rare"} if n < 3 else {"common"} if n < 30 else {"usual"} for n, i in enumerate(IDS)}
    chosen = choose_per_class(labelled, {}, 17)
    assert Counter(next(iter(labelled[i])) for i in chosen) == {"rare": 3, "common": 7, "usual": 7}


def test_each_protein_comes_once_before_any_comes_twice() -> None:
    proteins = {i: f"P{min(n, 5)}" for n, i in enumerate(IDS)}  # P5 has 35 cells, the others one each
    chosen = choose_per_class(dict.fromkeys(IDS, ("a",)), proteins, 6)
    assert Counter(proteins[i] for i in chosen) == dict.fromkeys([f"P{n}" for n in range(6)], 1)
    more = choose_per_class(dict.fromkeys(IDS, ("a",)), proteins, 8)
    assert Counter(proteins[i] for i in more)["P5"] == 3


def test_images_without_a_protein_are_groups_of_their_own() -> None:
    proteins = {i: "P" if n < 38 else None for n, i in enumerate(IDS)}
    chosen = choose_per_class(dict.fromkeys(IDS, ("a",)), proteins, 3)
    assert {"x/38", "x/39"} <= set(chosen)


def test_the_order_says_nothing_of_the_class() -> None:
    labelled = {i: {"a"} if n < 20 else {"b"} for n, i in enumerate(IDS)}
    chosen = choose_per_class(labelled, {}, 20, seed=1)
    assert chosen == [i for i in shuffled(IDS, 1) if i in set(chosen)]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([], None),
        ([("a", 1.0)], 1.0),
        ([("a", 0.25), ("b", 0.5), ("a", 0.25)], 0.0),
        ([("a", 0.75), ("b", 0.25)], 0.5),
        ([("ab", 0.5), ("ba", 0.5)], 1.0),
        ([("ab", 0.5), ("a", 0.5)], 0.0),
        ([("ab", 0.5), ("a", 0.3), ("b", 0.2)], 0.2),
    ],
)
def test_the_margin_is_the_best_label_set_less_the_second(
    votes: list[tuple[str, float]], expected: float | None
) -> None:
    assert margin(votes) == expected


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.125, 0.25, 0.5])), min_size=1, max_size=8))
def test_of_single_localizations_the_margin_is_that_of_their_scores(votes: list[tuple[str, float]]) -> None:
    scores = sorted((sum(s for name, s in votes if name == c) for c in "abc"), reverse=True)
    assert margin(votes) == scores[0] - scores[1]


@given(st.dictionaries(st.sampled_from(IDS), st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])), st.integers(1, 45))
def test_the_least_certain_come_first(margins: dict[str, float | None], n: int) -> None:
    chosen = choose_least_certain(margins, n, seed=3)
    values = [margins[i] for i in chosen]
    assert None not in values
    assert values == sorted(v for v in margins.values() if v is not None)[:n]


def test_equal_margins_are_taken_by_hash() -> None:
    assert choose_least_certain(dict.fromkeys(IDS, 0.5), 9, seed=4) == choose_at_random(IDS, 9, seed=4)


def test_a_choice_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="choose 'best': one of random, per-class, uncertain needed"):
        check_choice("best", 1)
    with pytest.raises(InputError, match="n = 0: at least 1 needed"):
        check_choice("random", 0)
