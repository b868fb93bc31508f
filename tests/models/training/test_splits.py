import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.models.training.splits import fraction_of, hold_out
from tests.quick import THOROUGH


@st.composite
def collections(draw: st.DrawFn) -> tuple[list[str | None], NDArray[np.bool_]]:
    """Rows of up to twelve groups with any sets of up to four classes; some rows have no group, some no class."""
    n, n_classes = draw(st.integers(0, 40)), draw(st.integers(0, 4))
    names = st.one_of(st.none(), st.just(""), st.sampled_from([f"g{i}" for i in range(12)]))
    groups = draw(st.lists(names, min_size=n, max_size=n))
    flat = draw(st.lists(st.booleans(), min_size=n * n_classes, max_size=n * n_classes))
    return groups, np.array(flat, dtype=np.bool_).reshape(n, n_classes)


def _of(groups: list[str | None], part: NDArray[np.bool_]) -> set[str]:
    return {name for name, there in zip(groups, part, strict=True) if there and name}


def _classes(groups: list[str | None], table: NDArray[np.bool_]) -> dict[int, set[str]]:
    """Groups by class, row by row."""
    met: dict[int, set[str]] = {}
    for name, row in zip(groups, table, strict=True):
        for c in np.flatnonzero(row).tolist():
            if name:
                met.setdefault(c, set()).add(name)
    return met


@given(collections(), st.floats(0.05, 0.95), st.integers(0, 3))
@settings(max_examples=150 if THOROUGH else 30, deadline=None)
def test_what_is_held_out_is_whole_groups_and_every_class_keeps_one(
    made: tuple[list[str | None], NDArray[np.bool_]], share: float, seed: int
) -> None:
    groups, table = made
    held = hold_out(groups, table, share=share, seed=seed)
    assert not _of(groups, held) & _of(groups, ~held)
    assert not any(there for name, there in zip(groups, held, strict=True) if not name)
    mine = _of(groups, held)
    members = _classes(groups, table)
    for of_class in members.values():
        assert of_class - mine, "a class lost its last group"
    for c, of_class in members.items():
        # none held out only where each of its groups is the last one left of some class
        if not of_class & mine:
            for name in of_class:
                assert any(name in other and not (other - mine - {name}) for other in members.values()), c


@given(collections(), st.lists(st.floats(0.01, 1), min_size=2, max_size=4), st.integers(0, 3), st.data())
@settings(max_examples=150 if THOROUGH else 30, deadline=None)
def test_a_fraction_contains_the_smaller_ones_has_whole_groups_and_every_class(
    made: tuple[list[str | None], NDArray[np.bool_]], fractions: list[float], seed: int, data: st.DataObject
) -> None:
    groups, table = made
    among = np.array(data.draw(st.lists(st.booleans(), min_size=len(groups), max_size=len(groups))), dtype=np.bool_)
    grouped = np.array([bool(name) for name in groups], dtype=np.bool_)
    smaller = np.zeros(len(groups), dtype=np.bool_)
    for fraction in sorted(fractions):
        part = fraction_of(groups, table, fraction=fraction, seed=seed, among=among)
        assert not (part & ~among).any()
        assert not (smaller & ~part).any()
        assert not _of(groups, part) & _of(groups, among & ~part)
        there = table[among & grouped].any(axis=0)
        assert (table[part].any(axis=0) == there).all()
        smaller = part
    everything = fraction_of(groups, table, fraction=1.0, seed=seed, among=among)
    assert (everything == (among & grouped)).all()


@given(collections(), st.floats(0.05, 0.95), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_no_split_depends_on_the_order_of_rows_or_classes(
    made: tuple[list[str | None], NDArray[np.bool_]], share: float, random: "object"
) -> None:
    groups, table = made
    rows, columns = list(range(len(groups))), list(range(table.shape[1]))
    random.shuffle(rows)  # type: ignore[attr-defined]
    random.shuffle(columns)  # type: ignore[attr-defined]
    mixed, turned = [groups[row] for row in rows], table[rows][:, columns]
    assert (hold_out(mixed, turned, share=share) == hold_out(groups, table, share=share)[rows]).all()
    assert (fraction_of(mixed, turned, fraction=share) == fraction_of(groups, table, fraction=share)[rows]).all()


def test_classes_are_drawn_in_proportion() -> None:
    groups = [f"a{i}" for i in range(40)] + [f"b{i}" for i in range(20)] + [f"c{i}" for i in range(5)]
    table = np.eye(3, dtype=np.bool_)[[0] * 40 + [1] * 20 + [2] * 5]
    for seed in range(5):
        # 20 % of 65 groups are 13; 8 + 4 + 1 are those of the classes
        assert table[hold_out(groups, table, share=0.2, seed=seed)].sum(axis=0).tolist() == [8, 4, 1]
        assert table[fraction_of(groups, table, fraction=0.4, seed=seed)].sum(axis=0).tolist() == [16, 8, 2]


def test_rare_classes_get_their_group_even_where_the_share_is_small() -> None:
    groups = [f"a{i}" for i in range(10)] + ["b0", "b1", "c0"]
    table = np.eye(3, dtype=np.bool_)[[0] * 10 + [1, 1, 2]]
    held = hold_out(groups, table, share=0.1, seed=0)
    assert table[held].sum(axis=0).tolist() == [1, 1, 0]  # c has one group only
    assert table[fraction_of(groups, table, fraction=0.01, seed=0)].sum(axis=0).tolist() == [1, 1, 1]


def test_another_seed_draws_other_groups_and_every_group_is_drawn_by_some_seed() -> None:
    groups = [f"g{i}" for i in range(20)]
    table = np.ones((20, 1), dtype=np.bool_)
    drawn = [frozenset(np.flatnonzero(hold_out(groups, table, share=0.2, seed=seed)).tolist()) for seed in range(60)]
    assert len(set(drawn)) > 50
    assert frozenset().union(*drawn) == set(range(20))


def test_without_classes_a_part_is_a_random_share_of_the_groups() -> None:
    groups = [f"g{i // 3}" for i in range(60)]
    none = np.zeros((60, 0), dtype=np.bool_)
    assert len(_of(list(groups), hold_out(groups, none, share=0.25))) == 5
    assert len(_of(list(groups), fraction_of(groups, none, fraction=0.6))) == 12


def test_where_no_group_can_be_spared_nothing_is_held_out() -> None:
    assert not hold_out(["a", "b"], np.eye(2, dtype=np.bool_), share=0.5).any()
    assert not hold_out(["a", "a"], np.zeros((2, 0), dtype=np.bool_), share=0.5).any()
    assert hold_out([], np.zeros((0, 2), dtype=np.bool_), share=0.5).shape == (0,)


def test_shares_and_lengths_that_do_not_fit_are_refused() -> None:
    table = np.ones((2, 1), dtype=np.bool_)
    for share in (0.0, 1.0, -0.1):
        with pytest.raises(InputError, match="inside"):
            hold_out(["a", "b"], table, share=share)
    for fraction in (0.0, 1.1):
        with pytest.raises(InputError, match="fraction"):
            fraction_of(["a", "b"], table, fraction=fraction)
    with pytest.raises(InputError, match="one a row"):
        hold_out(["a"], table, share=0.5)
