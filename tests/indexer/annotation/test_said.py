"""The majority of annotators, against counting by hand; names that can and cannot be kept."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.indexer.annotation.said import Annotation, agreed, check_annotator

CLASSES = st.sets(st.sampled_from(["er", "golgi", "nucleoplasm", "vesicles"]), max_size=3)
DECISIONS = st.dictionaries(st.sampled_from(["anna", "ben", "cleo", "dora", "egon"]), CLASSES, min_size=1)


@given(DECISIONS)
def test_a_localization_counts_if_more_than_half_chose_it(said: dict[str, set[str]]) -> None:
    found = agreed(said.items())
    n = len(said)
    counted = [label for label in ("er", "golgi", "nucleoplasm", "vesicles")
               if sum(label in chosen for chosen in said.values()) > n / 2]  # fmt: skip
    saw_none = sum(len(chosen) == 0 for chosen in said.values())
    if counted:
        assert found.localizations == tuple(counted)
    else:
        assert found.localizations == (() if saw_none > n / 2 else None)
    assert found.annotators == tuple(sorted(said))


@given(DECISIONS, st.randoms())
def test_the_order_of_the_annotators_does_not_matter(said: dict[str, set[str]], random: object) -> None:
    shuffled = list(said.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert agreed(shuffled) == agreed(said.items())


@given(CLASSES)
def test_one_annotator_is_never_disputed(chosen: set[str]) -> None:
    assert agreed([("anna", chosen)]).localizations == tuple(sorted(chosen))


@given(CLASSES, st.integers(2, 5))
def test_annotators_who_say_the_same_agree_on_just_that(chosen: set[str], n: int) -> None:
    assert agreed([(f"a{i}", chosen) for i in range(n)]).localizations == tuple(sorted(chosen))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([["er"], ["golgi"]], None),
        ([["er", "golgi"], ["golgi"]], ("golgi",)),
        ([[], ["er"]], None),  # one of two is no majority, neither for a place nor for none
        ([[], [], ["er"]], ()),
        ([["er"], ["er", "golgi"], ["golgi"]], ("er", "golgi")),
        ([["er"], ["golgi"], ["membrane"]], None),
        ([["er"], ["er"], ["golgi"], ["golgi"]], None),
    ],
)
def test_what_several_say_together(said: list[list[str]], expected: tuple[str, ...] | None) -> None:
    found = agreed([(f"a{i}", chosen) for i, chosen in enumerate(said)])
    assert found.localizations == expected
    assert found.is_disputed == (expected is None)


def test_an_annotator_counts_once_and_somebody_must_have_looked() -> None:
    with pytest.raises(ValueError, match="at least one"):
        agreed([])
    with pytest.raises(ValueError, match="one an annotator"):
        agreed([("anna", ["er"]), ("anna", ["golgi"])])


@pytest.mark.parametrize("name", ["", "  ", "a;b", "a|b", "a\nb", "a\x00", "e\u0301"])
def test_names_that_cannot_be_kept_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"a name without ';', '\|'"):
        check_annotator(name)


def test_names_are_trimmed() -> None:
    assert check_annotator(" Anna Müller ") == "Anna Müller"


def test_a_data_set_may_name_several_annotators() -> None:
    at = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    found = Annotation.from_source(
        "x/1", "cell", annotated_by="ben; anna;ben", localizations=["golgi", "er", "er"], source_digest="d", at=at
    )
    assert [(a.id, a.localizations) for a in found] == [("x/1|anna", ("er", "golgi")), ("x/1|ben", ("er", "golgi"))]
    assert all(a.is_joint for a in found)
    (alone,) = Annotation.from_source("x/1", "cell", annotated_by="ben", localizations=[], source_digest="d", at=at)
    assert not alone.is_joint
    with pytest.raises(InputError, match="annotator"):
        Annotation.from_source("x/1", "cell", annotated_by="anna;;", localizations=[], source_digest="d", at=at)
