"""Label sets, hashed orders, folds and lone labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.query.scores.protocols import encode_labels, grouped_folds, hashed_order, lone_labels

ROWS = [{"er"}, {"golgi", "er"}, set(), None, ["golgi", "golgi"], {"membrane", "er"}]


def test_single_keeps_rows_with_exactly_one_label_and_counts_the_others() -> None:
    found = encode_labels(ROWS, "single")
    assert found.classes == ("er", "golgi")
    assert found.usable.tolist() == [True, False, False, False, True, False]
    assert found.table[[0, 4]].tolist() == [[True, False], [False, True]]
    assert not found.table[~found.usable].any()
    assert found.left_out == {"unlabelled": 2, "several labels": 2}


def test_multi_keeps_every_labelled_row() -> None:
    found = encode_labels(ROWS, "multi")
    assert found.classes == ("er", "golgi", "membrane")
    assert found.table.astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert found.left_out == {"unlabelled": 2}


def test_a_bare_string_is_refused_since_its_letters_would_be_labels() -> None:
    with pytest.raises(InputError, match="bare string"):
        encode_labels(["er"], "multi")
    with pytest.raises(InputError, match="single, multi"):
        encode_labels([{"er"}], "double")  # type: ignore[arg-type]


@given(st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=60), st.integers(2, 4), st.integers(0, 3))
@settings(deadline=None)
def test_no_group_is_split_and_row_order_does_not_matter(groups: list[str], folds: int, seed: int) -> None:
    if len(set(groups)) < folds:
        with pytest.raises(InputError, match=f"2 to {len(set(groups))} possible"):
            grouped_folds(groups, folds=folds, seed=seed)
        return
    found = grouped_folds(groups, folds=folds, seed=seed)
    assert set(found) == set(range(folds))  # none is empty
    for name in groups:
        assert len({fold for fold, other in zip(found, groups, strict=True) if other == name}) == 1
    order = np.random.default_rng(seed).permutation(len(groups))
    again = grouped_folds([groups[row] for row in order], folds=folds, seed=seed)
    np.testing.assert_array_equal(again, found[order])


def test_folds_are_alike_in_size_and_classes(rng: np.random.Generator) -> None:
    group_class = rng.choice(4, 200, p=[0.6, 0.25, 0.1, 0.05])
    group_size = rng.integers(1, 9, 200)
    groups = [f"g{g}" for g in range(200) for _ in range(group_size[g])]
    classes = np.repeat(group_class, group_size)
    table = classes[:, None] == np.arange(4)
    found = grouped_folds(groups, folds=5, table=table)
    sizes = np.bincount(found)
    assert sizes.max() <= 1.05 * sizes.min()
    per_class = np.array([table[found == fold].sum(axis=0) for fold in range(5)])
    assert (per_class.max(axis=0) - per_class.min(axis=0) <= group_size.max()).all()


def test_another_seed_gives_other_folds() -> None:
    groups = [f"g{i}" for i in range(60)]
    assert (grouped_folds(groups, folds=3, seed=0) != grouped_folds(groups, folds=3, seed=1)).any()


def test_folds_do_not_follow_names_that_tell_the_class() -> None:
    """Names as in HPA composites: the number follows the class. Groups of equal size, no table given."""
    groups = [f"mixed_img{i}" for i in range(200)]
    found = grouped_folds(groups, folds=2, seed=0)
    first = (found[:100] == 0).sum()
    assert 30 <= first <= 70  # 50 expected, sd 5; alphabetical or numerical blocks would give 0 or 100


def test_rows_without_a_group_are_in_no_fold() -> None:
    assert grouped_folds(["a", None, "b", ""], folds=2).tolist()[1::2] == [-1, -1]


def test_the_hashed_order_depends_on_names_and_seed_only() -> None:
    names = [f"cell{i}" for i in range(50)]
    order = [names[i] for i in hashed_order(names)]
    assert order == [names[::-1][i] for i in hashed_order(names[::-1])]
    assert order != names
    assert order != [names[i] for i in hashed_order(names, seed=1)]


def test_lone_labels_are_rows_whose_class_nobody_outside_their_block_has() -> None:
    table = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 1], [0, 1, 0], [0, 0, 1]], dtype=bool)
    blocks = np.array([0, 0, 1, 1, 1])
    assert lone_labels(table, blocks).tolist() == [2, 2, 0]
