"""The report counts what stands in the table, and tells what does not count any more."""

import csv
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import UnknownNameError
from locatlas.indexer.annotation.said import Annotation
from locatlas.indexer.annotation.table import put_annotations
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.annotation.report import write_disputed
from locatlas.query.atlas import Atlas

AT = dt.datetime(2026, 4, 10, 12, tzinfo=dt.UTC)


def cell(n: int, *labels: str, digest: str = "d") -> dict[str, Any]:
    return {
        "id": f"x/{n}", "dataset": "x", "channels": ["protein"], "localizations": sorted(labels), "graded": [],
        "groups": [], "metadata": [], "sources": [], "source_digest": f"{digest}{n}", "qc": [],
    }  # fmt: skip


def say(n: int, annotator: str, *chosen: str, **more: Any) -> Annotation:
    return Annotation(**{"image_id": f"x/{n}", "level": "cell", "annotator": annotator, "localizations": chosen,
                         "at": AT, "source_digest": f"d{n}", **more})  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "a")
    made.upsert("cells", image_rows([cell(0, "er"), cell(1, "er"), cell(2, "golgi"), cell(3), cell(4, "er")], "cell"))
    put_annotations(
        made,
        [
            say(0, "anna", "er"), say(0, "ben", "er", "golgi"),
            say(1, "anna", "golgi", note="dim"), say(1, "ben"),
            say(2, "anna", "golgi"), say(2, "ben", "golgi"),
            say(3, "anna", "er"),
            say(4, "anna", "golgi", source_digest="old"), say(4, "ben", "golgi", source_digest="old"),
            say(9, "anna", "er"),
        ],
    )  # fmt: skip
    return made


def test_who_said_how_much(store: Store) -> None:
    report = Atlas(store).annotation_report()
    assert (report["level"], report["images"], report["annotated"], report["agreed"]) == ("cell", 5, 4, 3)
    counts = [{k: v for k, v in row.items() if not k.endswith("_at")} for row in report["annotators"]]
    assert counts == [
        {"annotator": "anna", "n": 6, "none": 0, "several": 0, "changed": 1, "gone": 1},
        {"annotator": "ben", "n": 4, "none": 1, "several": 1, "changed": 1, "gone": 0},
    ]
    assert report["annotators"][0]["first_at"] == "2026-04-10T12:00:00+00:00"


def test_two_agree_on_an_image_as_both_saw_it_also_where_it_has_changed_since(store: Store) -> None:
    (pair,) = Atlas(store).annotation_report()["pairs"]
    assert (pair["n"], pair["equal"]) == (4, 2 / 4)
    # at most one each: golgi/none, golgi/golgi, golgi/golgi: observed 2/3, chance 1 * 2/3
    assert pair["single_label"] == {"kappa": pytest.approx(0), "n": 3, "reason": None}


def test_what_several_decided_together_is_no_agreement(store: Store) -> None:
    before = Atlas(store).annotation_report()
    said: dict[str, Any] = {"annotated_by": "anna;ben;cleo", "localizations": ["er"], "source_digest": "d3", "at": AT}
    put_annotations(store, Annotation.from_source("x/3", "cell", **said))
    report = Atlas(store).annotation_report()
    pairs = {tuple(pair["annotators"]): pair for pair in report["pairs"]}
    assert pairs == {("anna", "ben"): before["pairs"][0]}
    assert [row["annotator"] for row in report["annotators"]] == ["anna", "ben", "cleo"]
    assert report["annotated"] == 4
    (note,) = report["notes"]
    assert note.startswith("2 decisions are those of several annotators together")


def test_disputed_images_are_listed_with_what_each_said(store: Store, tmp_path: Path) -> None:
    report = Atlas(store).annotation_report()
    assert [one["id"] for one in report["disputed"]] == ["x/1"]
    write_disputed(report, tmp_path / "d.csv")
    with (tmp_path / "d.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["id"], r["annotator"], r["localizations"], r["note"]) for r in rows] == [
        ("x/1", "anna", "golgi", "dim"),
        ("x/1", "ben", "none", ""),
    ]


def test_inherited_labels_are_held_against_agreed_annotations_alone(store: Store) -> None:
    held = Atlas(store).annotation_report()["inherited_holds"]
    # x/0 er: er, x/2 golgi: golgi; x/1 is disputed, x/3 inherits nothing, x/4 has changed
    assert (held["n"], held["equal"]) == (2, 2)
    assert held["per_class"]["er"] == {"n": 1, "holds": 1, "share": 1.0, "seen_elsewhere": 0}


def test_the_table_tells_what_still_applies(store: Store) -> None:
    table = Atlas(store).annotations()
    rows = {(r["image_id"], r["annotator"]): r["applies"] for r in table.to_pylist()}
    assert [key for key, applies in rows.items() if not applies] == [("x/4", "anna"), ("x/4", "ben"), ("x/9", "anna")]


def test_two_vocabularies_are_told(store: Store) -> None:
    names = ("cleo", "dora", "egon", "fay")
    put_annotations(store, [say(0, name, "Endoplasmic reticulum") for name in names])
    (note,) = Atlas(store).annotation_report()["notes"]
    assert "two vocabularies (hpa->opencell)" in note


def test_levels_are_kept_apart(store: Store) -> None:
    assert Atlas(store).annotation_report(level="fov")["annotators"] == []
    assert "nobody has annotated" in Atlas(store).annotation_report(level="fov")["notes"][0]
    with pytest.raises(UnknownNameError, match="unknown level 'protein'"):
        Atlas(store).annotation_report(level="protein")


def test_an_atlas_of_annotated_fields_alone_reports_them(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "b")
    store.upsert("fovs", image_rows([cell(0, "er")], "fov"))
    put_annotations(store, [say(0, "anna", "er", level="fov")])
    report = Atlas(store).annotation_report()
    assert (report["level"], report["annotated"], report["pairs"]) == ("fov", 1, [])
