import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.query.probe.parts import check_fractions, parts_of_fold
from locatlas.query.scores.protocols import grouped_folds

FRACTIONS = (0.2, 0.4, 0.6, 0.8, 1.0)


@given(st.lists(st.integers(0, 9), min_size=10, max_size=60), st.integers(2, 4), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_no_group_is_in_two_parts_and_fractions_are_nested(numbers: list[int], n_folds: int, seed: int) -> None:
    groups = [f"g{number}" for number in [*range(n_folds + 2), *numbers]]
    table = np.eye(3, dtype=np.bool_)[[int(name[1:]) % 3 for name in groups]]
    folds = grouped_folds(groups, folds=n_folds, seed=seed, table=table)

    def of(rows: np.ndarray) -> set[str]:
        return {groups[row] for row in rows.tolist()}

    for fold in range(n_folds):
        smaller = (set(), set())
        for parts in parts_of_fold(groups, table, folds == fold, FRACTIONS, share=0.25, seed=seed):
            three = [parts.train, parts.validation, parts.test]
            assert not of(three[0]) & of(three[1])
            assert not (of(three[0]) | of(three[1])) & of(three[2])
            assert parts.test.tolist() == np.flatnonzero(folds == fold).tolist()
            assert smaller[0] <= set(parts.train.tolist())
            assert smaller[1] <= set(parts.validation.tolist())
            smaller = (set(parts.train.tolist()), set(parts.validation.tolist()))
            # what is outside the fold at all is in the training part at every fraction
            assert (table[parts.train].any(axis=0) == table[folds != fold].any(axis=0)).all()
        assert len(smaller[0] | smaller[1]) == (folds != fold).sum()  # the fraction 1 leaves nothing out


def test_rows_of_the_fold_decide_nothing_of_the_other_parts() -> None:
    groups = [f"g{i // 2}" for i in range(40)]
    table = np.eye(4, dtype=np.bool_)[np.arange(40) // 2 % 4]
    in_fold = np.arange(40) < 10
    other = table.copy()
    other[in_fold] = ~other[in_fold]
    first = list(parts_of_fold(groups, table, in_fold, FRACTIONS, share=0.2, seed=0))
    second = list(parts_of_fold(groups, other, in_fold, FRACTIONS, share=0.2, seed=0))
    for one, two in zip(first, second, strict=True):
        assert one.train.tolist() == two.train.tolist()
        assert one.validation.tolist() == two.validation.tolist()


def test_fractions_are_put_in_order_and_checked() -> None:
    assert check_fractions([1, 0.2, 0.2]) == (0.2, 1)
    for wrong in ([], [0.0], [1.2, 0.5]):
        with pytest.raises(InputError, match=r"\(0, 1\]"):
            check_fractions(wrong)
