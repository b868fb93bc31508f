"""Annotations in the store: kept per annotator, applied to the cells that were looked at and to no others."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import SchemaMismatchError
from locatlas.indexer.annotation.said import Annotation
from locatlas.indexer.annotation.table import PutCounts, apply_annotations, put_annotations, read_annotations
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from tests.indexer.made import versions

AT = dt.datetime(2026, 4, 10, 12, tzinfo=dt.UTC)


def cell(n: int, digest: str = "d", **more: Any) -> dict[str, Any]:
    return {
        "id": f"x/{n}", "dataset": "x", "channels": ["protein"], "localizations": ["er"], "graded": [], "groups": [],
        "metadata": [], "sources": [], "source_digest": f"{digest}{n}", "qc": [], "thumbnail": bytes([n]), **more,
    }  # fmt: skip


def say(n: int, annotator: str, *chosen: str, digest: str = "d", **more: Any) -> Annotation:
    return Annotation(image_id=f"x/{n}", level="cell", annotator=annotator, localizations=chosen, at=AT,
                      source_digest=f"{digest}{n}", **more)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "a")
    made.upsert("cells", image_rows([cell(n) for n in range(5)], "cell"))
    return made


def seen(store: Store) -> dict[str, tuple[Any, Any]]:
    return {row["id"]: (row["annotated"], row["annotated_by"]) for row in store.read("cells").to_pylist()}


def test_cells_follow_the_majority_and_disputed_ones_have_no_label(store: Store) -> None:
    put_annotations(
        store,
        [say(0, "anna", "er"), say(1, "anna", "er", "golgi"), say(1, "ben", "golgi"), say(2, "ben", "er"),
         say(2, "anna"), say(3, "anna")],
    )  # fmt: skip
    assert apply_annotations(store) == 4
    assert seen(store) == {
        "x/0": (["er"], "anna"),
        "x/1": (["golgi"], "anna;ben"),
        "x/2": (None, "anna;ben"),
        "x/3": ([], "anna"),
        "x/4": (None, None),
    }


def test_everything_else_of_a_row_stays(store: Store) -> None:
    before = store.read("cells").to_pylist()
    put_annotations(store, [say(3, "anna", "golgi")])
    apply_annotations(store)
    after = store.read("cells").to_pylist()
    changed = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
    assert changed == [(before[3], {**before[3], "annotated": ["golgi"], "annotated_by": "anna"})]


def test_only_rows_that_differ_are_written(store: Store) -> None:
    put_annotations(store, [say(0, "anna", "er"), say(1, "anna", "er")])
    assert apply_annotations(store) == 2
    before = versions(store)
    assert apply_annotations(store) == 0
    assert put_annotations(store, [say(0, "anna", "er")]) == PutCounts(0, 0, 1)
    assert versions(store) == before


def test_only_the_cells_asked_for_are_looked_at(store: Store) -> None:
    put_annotations(store, [say(0, "anna", "er"), say(1, "anna", "er")])
    assert apply_annotations(store, ["x/1", "x/absent"]) == 1
    assert seen(store)["x/0"] == (None, None)
    assert apply_annotations(store, []) == 0


def test_a_changed_decision_replaces_the_old_one_of_the_same_annotator_alone(store: Store) -> None:
    put_annotations(store, [say(0, "anna", "er"), say(0, "ben", "er")])
    assert put_annotations(store, [say(0, "anna", "golgi"), say(1, "anna", "er")]) == PutCounts(1, 1, 0)
    assert [(a.annotator, a.localizations) for a in read_annotations(store) if a.image_id == "x/0"] == [
        ("anna", ("golgi",)),
        ("ben", ("er",)),
    ]
    apply_annotations(store)
    assert seen(store)["x/0"] == (None, "anna;ben")


def test_when_it_was_first_said_stays_while_the_decision_does(store: Store) -> None:
    put_annotations(store, [say(0, "anna", "er")])
    later = Annotation(image_id="x/0", level="cell", annotator="anna", localizations=("er",), source_digest="d0",
                       at=AT + dt.timedelta(days=1))  # fmt: skip
    assert put_annotations(store, [later]).unchanged == 1
    assert read_annotations(store)[0].at == AT


def test_what_was_said_of_other_pixels_does_not_apply_until_they_come_back(store: Store) -> None:
    put_annotations(store, [say(0, "anna", "er"), say(1, "anna", "er")])
    apply_annotations(store)
    store.upsert("cells", image_rows([cell(0, "other", annotated=["er"], annotated_by="anna")], "cell"))
    store.delete("cells", ["x/1"])
    assert apply_annotations(store) == 1
    assert seen(store)["x/0"] == (None, None)
    assert len(read_annotations(store)) == 2, "what people said is kept"
    store.upsert("cells", image_rows([cell(0), cell(1)], "cell"))
    assert apply_annotations(store, ["x/0", "x/1"]) == 2
    assert seen(store)["x/1"] == (["er"], "anna")


def test_annotations_of_fovs_leave_cells_alone(store: Store) -> None:
    fov = Annotation(image_id="x/0", level="fov", annotator="anna", localizations=("er",), at=AT, source_digest="d0")
    put_annotations(store, [fov])
    assert apply_annotations(store) == 0
    assert read_annotations(store, level="cell") == []
    assert read_annotations(store, level="fov") == [fov]


def test_a_decision_given_twice_is_refused_and_nothing_written(store: Store) -> None:
    with pytest.raises(SchemaMismatchError, match=r"x/0\|anna"):
        put_annotations(store, [say(0, "anna", "er"), say(0, "anna", "golgi")])
    assert read_annotations(store) == []


def test_an_atlas_without_cells_has_nothing_to_apply(tmp_path: Path) -> None:
    assert apply_annotations(Store.create(tmp_path / "b")) == 0


def test_a_data_set_does_not_take_back_what_an_annotator_said_on_a_sheet(store: Store) -> None:
    def given(n: int, *chosen: str, who: str = "anna", digest: str = "d") -> list[Annotation]:
        said: dict[str, Any] = {"annotated_by": who, "localizations": chosen, "source_digest": f"{digest}{n}"}
        return Annotation.from_source(f"x/{n}", "cell", at=AT, **said)

    put_annotations(store, [*given(0, "er"), *given(1, "er"), *given(2, "er", who="anna;ben")])
    assert put_annotations(store, [say(0, "anna", "golgi"), say(2, "anna", "golgi")]) == PutCounts(changed=2)
    # the data set is read again: as it was for 0 and 2, with another label for 1
    again = put_annotations(store, [*given(0, "er"), *given(1, "vesicles"), *given(2, "er", who="anna;ben")])
    assert again == PutCounts(changed=1, unchanged=3)
    said = {(a.image_id, a.annotator): a.localizations for a in read_annotations(store)}
    assert said == {
        ("x/0", "anna"): ("golgi",),
        ("x/1", "anna"): ("vesicles",),
        ("x/2", "anna"): ("golgi",),
        ("x/2", "ben"): ("er",),
    }
    # of other pixels nobody has said anything yet
    assert put_annotations(store, given(0, "er", digest="new")) == PutCounts(changed=1)
