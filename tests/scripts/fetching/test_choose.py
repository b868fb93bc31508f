from pathlib import Path

import pytest
from fetching.choose import by_class, read_names
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError, UnknownNameError

LABELS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.lists(st.sampled_from("XYZ"), max_size=3, unique=True), min_size=1
)


@given(LABELS, st.integers(1, 4), st.integers(0, 3))
def test_each_class_has_so_many_or_all_it_has_and_more_are_the_same_and_others(labels, n: int, seed: int) -> None:
    chosen = by_class(labels, per_class=n, seed=seed)
    for wanted in "XYZ":
        members = {name for name, found in labels.items() if wanted in found}
        assert len(chosen & members) >= min(n, len(members))
    assert chosen <= by_class(labels, per_class=n + 1, seed=seed)
    assert by_class(labels) == {name for name, found in labels.items() if found}


def test_another_seed_chooses_others() -> None:
    labels = {f"P{i}": ["X"] for i in range(50)}
    assert by_class(labels, per_class=5, seed=0) != by_class(labels, per_class=5, seed=1)


def test_a_class_that_nothing_has_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown class 'W'; known: X"):
        by_class({"a": ["X"]}, classes=["W"])


@pytest.mark.parametrize("text", ["", "# nothing\n\n", None])
def test_a_list_without_names_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "genes.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"genes\.txt: "):
        read_names(path)
