"""Parts of a training share no group, whatever is held out, trained on or stopped by."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.indexer.training.rows import Parts, TrainingRows, split


def rows(groups: list[str | None], labels: list[set[str]], **changes: Any) -> TrainingRows:
    n = len(groups)
    fields: dict[str, Any] = {
        "level": "fov", "ids": [f"d/{i:03}" for i in range(n)], "datasets": ["d"] * n,
        "labels": [frozenset(names) for names in labels], "columns": {"protein": groups, "plate": ["1"] * n},
    }  # fmt: skip
    return TrainingRows(**{**fields, **changes})


def parts(of: TrainingRows, **asked: Any) -> Parts:
    usual: dict[str, Any] = {
        "group": "protein", "labels": "single", "share": 0.2, "fraction": 1.0, "validation": 0.2, "seed": 0
    }  # fmt: skip
    return split(of, **{**usual, **asked})


LABELS = st.sets(st.sampled_from(["er", "golgi", "nucleus"]), max_size=2)
ROWS = st.lists(st.tuples(st.sampled_from([None, *"abcdefgh"]), LABELS), min_size=8, max_size=40)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 3), st.sampled_from([0.3, 0.6, 1.0]), st.sampled_from(["single", "multi", None]))
def test_no_group_stands_in_two_parts_and_every_row_is_accounted_for(
    made: list[tuple[str | None, set[str]]], seed: int, fraction: float, labels: str | None
) -> None:
    of = rows([g for g, _ in made], [names for _, names in made])
    try:
        found = parts(of, seed=seed, fraction=fraction, labels=labels)
    except InputError as error:
        assert "nothing to train on" in str(error)  # noqa: PT017
        return
    group = dict(zip(of.ids, of.columns["protein"], strict=True))
    used = [{group[i] for i in found.train}, {group[i] for i in found.validation}, set(found.held_out)]
    assert sum(map(len, used)) == len(set().union(*used))
    # images of no group can stand in no other part only where nothing is set aside
    assert None not in set().union(*used) or (labels is None and fraction == 1 and not found.held_out)
    lost = sum(found.left_out.values())
    assert len(found.train) + len(found.validation) + found.n_held_out + lost == len(made)
    n_labels = dict(zip(of.ids, map(len, of.labels), strict=True))
    if labels is not None:
        assert all(n_labels[i] == 1 if labels == "single" else n_labels[i] for i in (*found.train, *found.validation))
    else:
        assert found.validation == ()
    assert Parts.from_dict(found.to_dict()) == found


def test_the_same_groups_are_held_out_with_and_without_labels_and_for_every_fraction() -> None:
    made = [(f"p{i % 12}", {"er"} if i % 3 else {"er", "golgi"} if i % 2 else set()) for i in range(60)]
    of = rows([g for g, _ in made], [names for _, names in made])
    held = {
        parts(of, labels=labels, fraction=fraction).held_out
        for labels in ("single", "multi", None)
        for fraction in (0.2, 0.5, 1.0)
    }
    assert len(held) == 1
    assert len({parts(of, seed=seed).held_out for seed in range(5)}) > 1


def test_unlabelled_images_of_a_held_out_group_are_held_out_too() -> None:
    of = rows([*"aabbccdd"], [{"er"}, set(), {"er"}, set(), {"golgi"}, set(), {"golgi"}, set()])
    found = parts(of, labels=None, share=0.4)
    assert found.n_held_out == 2 * len(found.held_out) > 0
    names = dict(zip(of.ids, of.columns["protein"], strict=True))
    assert not {names[i] for i in found.train} & set(found.held_out)


def test_images_without_a_group_are_only_trained_on_where_nothing_is_split() -> None:
    of = rows(["a", "b", None, None], [set(), set(), set(), set()])
    assert parts(of, labels=None, share=0).train == tuple(of.ids)
    found = parts(of, labels=None, share=0.4)
    assert (len(found.train), found.left_out) == (1, {"no group": 2})
    assert parts(of, labels=None, share=0, fraction=0.5).left_out == {"no group": 2, "not in the fraction": 1}


def test_groups_that_were_held_out_before_stay_so() -> None:
    of = rows([*"abcdef"], [{"er"}] * 6)
    found = parts(of, kept_out=["c", "e", "elsewhere"], validation=0)
    assert found.held_out == ("c", "e")
    assert [of.columns["protein"][of.ids.index(i)] for i in found.train] == [*"abdf"]


def test_why_nothing_is_left_is_told() -> None:
    of = rows([*"ab", None], [{"er", "golgi"}, set(), {"er"}])
    with pytest.raises(
        InputError, match=r"among 3 images: 1 no group, 1 no localization, 1 several localizations; lab"
    ):
        parts(of, share=0)


def test_values_are_those_of_manifests_and_rows_can_be_taken() -> None:
    of = rows(["a", None, "b"], [set(), set(), set()], datasets=["d", "d", "e"])
    assert (of.values("protein"), of.values("plate")) == (("a", "b"), ("d/1", "e/1"))
    assert of.groups("plate") == ["d/1", "d/1", "e/1"]
    some = of.take(np.array([True, False, True]), "filtered out").take(np.array([True, False]), "filtered out")
    assert (some.ids, some.left_out) == (["d/000"], {"filtered out": 2})
    assert of.of(["d/002", "d/000", "x"]).ids == ["d/000", "d/002"]
    assert of.of(["d/002"]).left_out == {}
