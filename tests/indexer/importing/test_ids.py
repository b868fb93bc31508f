"""Which ids of a file are images of an atlas, and which would be if they were written otherwise."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.indexer.importing.ids import NearlyMet, ids_of, met

PARTS = st.sampled_from(["a", "b", "x", "y", "7"])
IMAGES = st.dictionaries(
    st.lists(PARTS, min_size=2, max_size=3).map("/".join), st.booleans(), max_size=8
)  # id: whether it has an image


def rows(images: dict[str, bool]) -> pa.Table:
    return pa.table(
        {
            "id": pa.chunked_array([pa.array(list(images), pa.string())]),
            "dataset": pa.array([i.split("/")[0] for i in images], pa.string()),
            "sources": pa.array([[{"path": "p"}] if one else [] for one in images.values()],
                                pa.list_(pa.struct([("path", pa.string())]))),
        }
    )  # fmt: skip


@given(IMAGES, st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), max_size=8, unique=True))
def test_ids_are_counted_as_a_loop_over_them_counts(images: dict[str, bool], names: list[str]) -> None:
    ids = [n if n in images or n.startswith("new/") else f"new/{n}" for n in names]
    table = rows(images)
    assert ids_of(pa.array(names, pa.string()), table["id"], Path("f"), "new").to_pylist() == ids
    found = met(pa.array(names, pa.string()), pa.array(ids, pa.string()), table)
    pictures = [i for i, one in images.items() if one]
    assert found.with_image == sum(i in pictures for i in ids)
    alone = [n for n, i in zip(names, ids, strict=True) if i not in pictures]
    assert found.without_image == len(alone)
    expected = {
        dataset: n
        for dataset in {i.split("/")[0] for i in pictures}
        if (n := sum(f"{dataset}/{name}" in pictures for name in alone))
    }
    near = {i.partition("/")[2] for i in pictures}
    last = [i.rpartition("/")[2] for i in pictures]
    whole = sum(last.count(name) == 1 and name not in near and not name.isdecimal() for name in alone)
    assert {one.dataset: one.ids for one in found.nearly} == expected | ({None: whole} if whole else {})
    for one in found.nearly:
        assert one.image in pictures
        assert one.image.endswith(f"/{one.example}")
        assert one.dataset is None or one.image == f"{one.dataset}/{one.example}"


@pytest.mark.parametrize(
    ("name", "nearly"),
    [
        ("a", (NearlyMet(1, "a", "x/a", "x"),)),
        ("c", (NearlyMet(1, "c", "x/b/c", None),)),
        ("7", ()),  # the cell of that number in some field
        ("d", ()),  # of two fields
        ("alone", ()),  # has no image itself
    ],
)
def test_what_an_id_may_have_meant_is_named(name: str, nearly: tuple[NearlyMet, ...]) -> None:
    table = rows({"x/a": True, "x/b/c": True, "x/b/7": True, "x/b/d": True, "x/c/d": True, "x/alone": False})
    found = met(pa.array([name]), pa.array([f"imported/{name}"]), table)
    assert found.nearly == nearly
