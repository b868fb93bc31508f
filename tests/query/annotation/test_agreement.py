"""Kappa against a table worked by hand and against its formula; what is undefined is told, not NaN."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.query.annotation.agreement import Kappa, agreement, inherited_labels_hold, kappa, pairs_of

CLASSES = st.sampled_from(["er", "golgi", "none"])


def test_kappa_of_a_two_by_two_table_worked_by_hand() -> None:
    # both yes 20, first alone 5, second alone 10, both no 15: observed 35/50, by chance (25 * 30 + 25 * 20) / 50**2
    first = ["yes"] * 20 + ["yes"] * 5 + ["no"] * 10 + ["no"] * 15
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = kappa(first, second)
    assert found.n == 50
    assert found.value == pytest.approx((35 / 50 - 1250 / 2500) / (1 - 1250 / 2500))
    assert found.value == pytest.approx(0.4)


@given(st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=30))
def test_kappa_is_its_formula_or_says_why_not(said: list[tuple[str, str]]) -> None:
    first, second = [a for a, _ in said], [b for _, b in said]
    n, of_first, of_second = len(said), Counter(first), Counter(second)
    observed = sum(a == b for a, b in said) / n
    chance = sum(of_first[c] * of_second[c] for c in of_first) / n**2
    found = kappa(first, second)
    if chance == 1:
        assert found == Kappa(None, n, f"both always chose {first[0]!r}")
    else:
        assert found.value == pytest.approx((observed - chance) / (1 - chance), abs=1e-9)
        assert math.isfinite(found.value or 0.0)


def test_kappa_of_nothing_is_none_with_a_reason() -> None:
    assert kappa([], []) == Kappa(None, 0, "no image that both looked at")
    with pytest.raises(ValueError, match="1 and 2 decisions"):
        kappa(["a"], ["a", "b"])


def test_single_label_kappa_takes_images_with_at_most_one_label_and_none_is_a_class() -> None:
    said = [(["er"], ["er"]), ([], []), ([], ["er"]), (["er", "golgi"], ["er"]), (["golgi"], ["golgi"])]
    found = agreement("anna", "ben", said)
    expected = kappa(["er", "none", "none", "golgi"], ["er", "none", "er", "golgi"])
    assert found.single == expected
    assert found.single.n == 4
    assert (found.n, found.equal) == (5, 3 / 5)


def test_multi_label_kappa_is_taken_class_by_class_on_all_images() -> None:
    said = [(["er", "golgi"], ["er"]), (["er"], ["er"]), ([], []), (["golgi"], ["er", "golgi"])]
    found = agreement("anna", "ben", said)
    # er: both 2, second alone 1, neither 1: observed 3/4, chance (2 * 3 + 2 * 1) / 16 = 1/2
    assert found.per_class["er"].value == pytest.approx((3 / 4 - 1 / 2) / (1 / 2))
    # golgi: both 1, first alone 1, neither 2: observed 3/4, chance (2 * 1 + 2 * 3) / 16 = 1/2
    assert found.per_class["golgi"].value == pytest.approx(1 / 2)
    assert found.mean == pytest.approx(1 / 2)


def test_a_class_that_both_always_saw_has_no_kappa_and_is_left_out_of_the_mean() -> None:
    found = agreement("anna", "ben", [(["er"], ["er"]), (["er", "golgi"], ["er"]), (["er", "golgi"], ["er", "golgi"])])
    assert found.per_class["er"] == Kappa(None, 3, "both always chose 'seen'")
    assert found.mean == found.per_class["golgi"].value
    document = agreement("anna", "ben", [(["er"], ["er"])]).to_dict()
    assert document["single_label"] == {"kappa": None, "n": 1, "reason": "both always chose 'er'"}
    assert (document["multi_label"]["kappa"], document["multi_label"]["reason"]) == (None, "undefined for every class")
    assert agreement("a", "b", [([], [])]).to_dict()["multi_label"]["reason"] == "neither chose a localization"


def test_images_with_several_labels_alone_leave_no_single_label_kappa() -> None:
    found = agreement("anna", "ben", [(["er", "golgi"], ["er"])])
    assert found.single == Kappa(None, 0, "no image on which both chose at most one localization")


def test_every_two_annotators_are_compared_on_what_both_looked_at() -> None:
    pairs = pairs_of({"cleo": {1: ["er"]}, "anna": {1: ["er"], 2: ["golgi"]}, "ben": {2: ["golgi"], 3: []}})
    assert [(p.first, p.second, p.n, p.equal) for p in pairs] == [
        ("anna", "ben", 1, 1.0),
        ("anna", "cleo", 1, 1.0),
        ("ben", "cleo", 0, None),
    ]
    assert pairs[2].to_dict()["multi_label"]["reason"] == "no image that both looked at"


def test_how_often_inherited_labels_hold() -> None:
    found = inherited_labels_hold(
        [(["er"], ["er"]), (["er", "golgi"], ["golgi"]), (["er"], []), (["golgi"], ["er", "golgi"]), (["er"], ["new"])]
    )
    assert {name: (one.n, one.holds, one.seen_elsewhere) for name, one in found.items()} == {
        "er": (4, 1, 1),
        "golgi": (2, 2, 0),
        "new": (0, 0, 1),
    }
    assert (found["er"].share, found["new"].share) == (1 / 4, None)
    assert inherited_labels_hold([]) == {}
