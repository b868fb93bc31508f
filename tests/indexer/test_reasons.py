"""Reasons are put together where they say the same of different files, and nowhere else."""

from hypothesis import given
from hypothesis import strategies as st

from locatlas.indexer.reasons import by_reason


def test_the_same_of_many_files_is_one_kind() -> None:
    rejected = [
        ("t.csv line 2: a", "path '/data/x y/a.png': lies outside the folders; --root '/data/x y' declares its folder"),
        ("b.tif", "/data/b.tif: 3 planes, 2 declared"),
        ("t.csv line 3: c", "path '/other/c.png': lies outside the folders; --root /other declares its folder"),
        ("d.tif", "/data/d.tif: 5 planes, 4 declared"),
        ("e.tif", "/data/e.tif: not an image"),
    ]
    assert [[source for source, _ in group] for group in by_reason(rejected)] == [
        ["t.csv line 2: a", "t.csv line 3: c"],
        ["b.tif", "d.tif"],
        ["e.tif"],
    ]


def test_the_first_source_is_the_first_by_number() -> None:
    rejected = [(f"t.csv line {n}: x", "no file of that name") for n in (10, 100, 9, 11)]
    ((first, *_),) = by_reason(rejected)
    assert first[0] == "t.csv line 9: x"


@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_nothing_is_lost_and_larger_groups_come_first(rejected: list[tuple[str, str]]) -> None:
    groups = by_reason(rejected)
    assert sorted(one for group in groups for one in group) == sorted(rejected)
    assert [len(group) for group in groups] == sorted((len(group) for group in groups), reverse=True)
