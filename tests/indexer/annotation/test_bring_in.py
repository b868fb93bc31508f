"""Decisions come back with who and when, once; a sheet of which any line cannot be used changes nothing."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import AtlasLockedError, InputError, UnknownNameError
from locatlas.indexer.annotation.bring_in import import_annotations, parse_time
from locatlas.indexer.annotation.said import Annotation
from locatlas.indexer.annotation.table import put_annotations, read_annotations
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from tests.indexer.made import versions


def image(image_id: str, digest: str, *labels: str) -> dict[str, Any]:
    return {
        "id": image_id, "dataset": "x", "channels": ["protein"], "localizations": sorted(labels), "graded": [],
        "groups": [], "metadata": [], "sources": [], "source_digest": digest, "qc": [],
    }  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "a")
    cells = [image(f"x/f/{n}", f"d{n}", "er" if n % 2 else "golgi") for n in range(4)]
    made.upsert("cells", image_rows(cells, "cell"))
    made.upsert("fovs", image_rows([image("x/f", "df", "er", "golgi", "vesicles")], "fov"))
    return made


def sheet(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["id,picture,localizations,note,source_digest", *lines]) + "\n")
    return path


def do(file: Path, store: Store, **options: Any) -> dict[str, Any]:
    return import_annotations(file, atlas=store.folder.path, **{"annotator": "anna", **options})


def seen(store: Store) -> dict[str, tuple[Any, Any]]:
    return {row["id"]: (row["annotated"], row["annotated_by"]) for row in store.read("cells").to_pylist()}


def test_decisions_reach_the_cells_with_who_and_when(tmp_path: Path, store: Store) -> None:
    file = sheet(tmp_path, "x/f/0,p,ER;golgi,bright,d0", "x/f/1,p,,,d1", "x/f/2,p,none,,d2", "x/f,p,vesicles,,df")
    done = do(file, store, at="2026-04-10T15:00+02:00")
    assert done == {
        "annotator": "anna", "decisions": 3, "new": 3, "changed": 0, "unchanged": 0, "skipped": 1, "none": 1,
        "cells_updated": 2, "disputed": [],
    }  # fmt: skip
    assert seen(store) == {
        "x/f/0": (["er", "golgi"], "anna"),
        "x/f/1": (None, None),
        "x/f/2": ([], "anna"),
        "x/f/3": (None, None),
    }
    first = read_annotations(store)[0]
    assert (first.image_id, first.level, first.note, first.source_digest) == ("x/f/0", "cell", "bright", "d0")
    assert first.at == dt.datetime(2026, 4, 10, 13, tzinfo=dt.UTC)
    assert [a.image_id for a in read_annotations(store, level="fov")] == ["x/f"]


def test_a_second_import_of_the_same_sheet_does_nothing(tmp_path: Path, store: Store) -> None:
    file = sheet(tmp_path, "x/f/0,p,er,,d0")
    do(file, store)
    before = versions(store)
    done = do(file, store)
    assert (done["new"], done["changed"], done["unchanged"], done["cells_updated"]) == (0, 0, 1, 0)
    assert versions(store) == before


def test_a_changed_decision_is_counted_and_replaces_the_old_one(tmp_path: Path, store: Store) -> None:
    do(sheet(tmp_path, "x/f/0,p,er,,d0", "x/f/1,p,er,,d1"), store)
    done = do(sheet(tmp_path, "x/f/0,p,golgi,,d0", "x/f/1,p,er,,d1"), store)
    assert (done["new"], done["changed"], done["unchanged"], done["cells_updated"]) == (0, 1, 1, 1)
    assert seen(store)["x/f/0"] == (["golgi"], "anna")


@pytest.mark.parametrize("name", ["Anna B", "anna  b", " ANNAB "])
def test_another_spelling_of_an_annotators_name_is_refused(name: str, tmp_path: Path, store: Store) -> None:
    file = sheet(tmp_path, "x/f/0,p,er,,d0")
    do(file, store, annotator="anna b")
    before = versions(store)
    with pytest.raises(InputError, match="this atlas has 'anna b', which differs by letter case or spaces only"):
        do(file, store, annotator=name)
    assert versions(store) == before
    assert do(file, store, annotator=" anna b ")["unchanged"] == 1
    assert do(file, store, annotator="anna c")["new"] == 1


def test_annotators_who_disagree_leave_the_cell_without_a_label_and_are_told(tmp_path: Path, store: Store) -> None:
    do(sheet(tmp_path, "x/f/0,p,er,,d0"), store)
    done = do(sheet(tmp_path, "x/f/0,p,golgi,,d0"), store, annotator="ben")
    assert done["disputed"] == ["x/f/0"]
    assert seen(store)["x/f/0"] == (None, "anna;ben")


def test_an_import_that_was_killed_before_the_cells_followed_is_completed_by_the_same_command(
    tmp_path: Path, store: Store
) -> None:
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    said = Annotation(image_id="x/f/0", level="cell", annotator="anna", localizations=("er",), at=at,
                      source_digest="d0")  # fmt: skip
    put_annotations(store, [said])  # as far as it came
    done = do(sheet(tmp_path, "x/f/0,p,er,,d0"), store)
    assert (done["unchanged"], done["cells_updated"]) == (1, 1)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["x/f/0,p,er,,d0", "x/f/9,p,er,,d9"], r"s\.csv line 3: 'x/f/9' is no cell or FOV of this atlas; nothing was"),
        (["x/f/0,p,er,,d0", "x/f/1,p,er,,old"], r"s\.csv line 3: 'x/f/1' is another image now than the one exported"),
        (["x/f/0,p,er,,d0", "x/f/0,p,golgi,,d0"], r"s\.csv line 3: another answer for 'x/f/0' than in line 2"),
        (["x/f/0,p,er,,d0", "x/f/1,p,golgy,,d1", "x/f/2,p,erx,,d2"],
         r"s\.csv line 3: label 'golgy' is not among .* did you mean 'golgi'.* \(and 1 more such line: 4\)"),
        (["x/f/0,p,er,,d0", "x/f/1,p,none;er,,d1"], r"s\.csv line 3: 'none;er' says 'none' and names"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_used_is_named_and_nothing_is_written(
    tmp_path: Path, store: Store, lines: list[str], reason: str
) -> None:
    before = versions(store)
    with pytest.raises(InputError, match=reason):
        do(sheet(tmp_path, *lines), store)
    assert versions(store) == before


def test_the_same_answer_twice_is_one_and_an_empty_cell_is_none(tmp_path: Path, store: Store) -> None:
    done = do(sheet(tmp_path, "x/f/0,p,er,,d0", "x/f/0,p,ER,,d0", "x/f/0,p,,,d0"), store)
    assert (done["decisions"], done["new"], done["skipped"]) == (1, 1, 1)


def test_labels_are_those_of_the_vocabulary_that_is_named(tmp_path: Path, store: Store) -> None:
    file = sheet(tmp_path, "x/f/0,p,Nucleoli rim,,d0")
    with pytest.raises(InputError, match="not among the labels this atlas uses"):
        do(file, store)
    assert do(file, store, vocabulary="hpa")["new"] == 1
    assert do(sheet(tmp_path, "x/f/1,p,nucleoli rim,,d1"), store)["new"] == 1, "the atlas uses it now"
    with pytest.raises(UnknownNameError, match="unknown label vocabulary 'hpaa'"):
        do(file, store, vocabulary="hpaa")


def test_new_labels_are_taken_where_asked_for(tmp_path: Path, store: Store) -> None:
    do(sheet(tmp_path, "x/f/0,p,bright dots,,d0"), store, new_labels=True)
    assert seen(store)["x/f/0"] == (["bright dots"], "anna")


def test_an_import_is_in_the_ledger_and_waits_for_nobody(tmp_path: Path, store: Store) -> None:
    file = sheet(tmp_path, "x/f/0,p,er,,d0")
    with store.folder.writer("index"), pytest.raises(AtlasLockedError):
        do(file, store)
    do(file, store)
    (run,) = store.read("runs").to_pylist()
    assert (run["command"], run["state"], run["counts"]) == ("annotate import", "done", '{"changed": 0, "new": 1}')


@pytest.mark.parametrize(("option", "value"), [("annotator", "a;b"), ("annotator", ""), ("at", "yesterday")])
def test_who_and_when_are_checked(tmp_path: Path, store: Store, option: str, value: str) -> None:
    with pytest.raises(InputError, match=r"annotator|ISO 8601 needed"):
        do(sheet(tmp_path, "x/f/0,p,er,,d0"), store, **{option: value})


def test_an_atlas_is_not_made_by_an_import(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an atlas"):
        import_annotations(sheet(tmp_path, "x,p,er,,d"), atlas=tmp_path / "none", annotator="anna")
    assert not (tmp_path / "none").exists()


def test_times_without_a_zone_are_utc() -> None:
    assert parse_time("2026-04-10") == dt.datetime(2026, 4, 10, tzinfo=dt.UTC)
    assert parse_time(dt.datetime(2026, 4, 10, 1)) == dt.datetime(2026, 4, 10, 1, tzinfo=dt.UTC)
