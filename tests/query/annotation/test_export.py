"""From the atlas to a sheet, filled in, and back: the right cells, nothing that leads the annotator, nothing lost."""

import csv
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.annotation.bring_in import import_annotations
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.store import encoders
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from locatlas.query.annotation.export import export_sheet
from locatlas.query.annotation.gather import SheetRequest
from locatlas.query.atlas import Atlas
from tests.indexer.made import versions
from tests.indexer.made_cells import write_cells


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_cells(tmp_path)


def do(store: Store, out: Path, **asked: Any) -> dict[str, Any]:
    return export_sheet(Atlas(store), out, SheetRequest(**asked))


def lines(out: Path) -> list[dict[str, str]]:
    with (out / "sheet.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def fill(out: Path, answers: dict[str, str]) -> Path:
    rows = lines(out)
    filled = out / "filled.csv"
    with filled.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows({**row, "localizations": answers.get(row["id"], "")} for row in rows)
    return filled


def test_export_fill_in_and_import_round_trip(store: Store, tmp_path: Path) -> None:
    before = versions(store)
    done = do(store, tmp_path / "out", n=5)
    assert versions(store) == before, "an export writes nothing into the atlas"
    assert (done["n"], done["eligible"], done["pictures"], done["left_out"]) == (5, 12, {"source": 5}, {})
    ids = [row["id"] for row in lines(tmp_path / "out")]
    answers = {ids[0]: "golgi;er", ids[1]: "none", ids[3]: "er"}
    import_annotations(fill(tmp_path / "out", answers), atlas=store.folder.path, annotator="anna")
    cells = {row["id"]: row for row in store.read("cells").to_pylist()}
    assert {i: row["annotated"] for i, row in cells.items() if row["annotated_by"]} == {
        ids[0]: ["er", "golgi"], ids[1]: [], ids[3]: ["er"],
    }  # fmt: skip
    rest = do(store, tmp_path / "rest", annotator="anna")
    assert rest["left_out"] == {"annotated by anna already": 3}
    assert {row["id"] for row in lines(tmp_path / "rest")} == set(cells) - set(answers)


def test_the_folder_holds_what_its_readme_says(store: Store, tmp_path: Path) -> None:
    do(store, tmp_path / "a b" / "out", n=3)
    out = tmp_path / "a b" / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        "README.txt", "index.html", "labels.txt", "sheet.csv", "thumbnails",
    ]  # fmt: skip
    assert [row["picture"] for row in lines(out)] == [f"thumbnails/{n}.png" for n in (1, 2, 3)]
    assert all((out / row["picture"]).read_bytes().startswith(b"\x89PNG") for row in lines(out))
    assert (out / "labels.txt").read_text().split() == ["er", "golgi", "nucleoplasm"]
    told = (out / "README.txt").read_text()
    assert f"locatlas annotate import '{out / 'sheet.csv'}' --atlas {store.folder.path}" in told
    assert "a simple random sample; seed 0" in told
    assert [p for p in out.parent.iterdir() if p != out] == [], "nothing half-made is left beside it"


def test_nothing_in_the_folder_tells_inherited_labels_unless_asked_for(store: Store, tmp_path: Path) -> None:
    do(store, tmp_path / "blind", n=12)
    assert list(lines(tmp_path / "blind")[0]) == ["id", "picture", "localizations", "note", "source_digest"]
    for name in ("sheet.csv", "index.html", "README.txt"):
        text = (tmp_path / "blind" / name).read_text()
        assert not any(label in text for label in ("golgi", "nucleoplasm")), name
    do(store, tmp_path / "shown", n=12, show_labels=True)
    shown = {row["id"]: row["inherited"] for row in lines(tmp_path / "shown")}
    assert shown["x/f1/2"] == "golgi"
    assert "<details><summary>labels</summary><div>inherited: golgi" in (tmp_path / "shown" / "index.html").read_text()


def test_the_same_seed_gives_the_same_sheet(store: Store, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        do(store, tmp_path / name, n=6, seed=seed)
    first, again, other = ((tmp_path / name / "sheet.csv").read_bytes() for name in "abc")
    assert first == again != other


def test_classes_and_filters(store: Store, tmp_path: Path) -> None:
    do(store, tmp_path / "even", choose="per-class", n=6)
    chosen = [row["id"].split("/")[1] for row in lines(tmp_path / "even")]
    assert sorted(chosen) == ["f0", "f0", "f1", "f1", "f2", "f2"]
    done = do(store, tmp_path / "some", where=["protein=P1"])
    assert (done["n"], done["left_out"]) == (4, {"not passing the filters": 8})
    with pytest.raises(UnknownNameError, match="unknown column 'shade'"):
        do(store, tmp_path / "none", choose="per-class", group="shade")


def embedded(store: Store, tmp_path: Path) -> None:
    """Vectors such that each cell lies by its field, but the cells of f2 between those of f0 and f1."""
    import numpy as np

    ids = store.read("cells", ["id"])["id"].to_pylist()
    place = {"f0": (1.0, 0.0), "f1": (0.0, 1.0), "f2": (1.0, 1.0)}
    vectors = np.array([place[i.split("/")[1]] for i in ids], np.float32)
    vectors[ids.index("x/f2/3")] = (1.0, 0.2)
    np.savez(tmp_path / "v.npz", ids=np.array(ids), vectors=vectors)
    import_embeddings(tmp_path / "v.npz", atlas=store.folder.path, name="made", dataset="x", level="cell")


def test_the_least_certain_cells_come_first_and_votes_are_told_on_request(store: Store, tmp_path: Path) -> None:
    embedded(store, tmp_path)
    assert encoders.current(store, "cell") is not None
    done = do(store, tmp_path / "out", choose="uncertain", n=12, k=4, show_labels=True)
    assert done["n"] == 12
    rows = lines(tmp_path / "out")
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins)
    # the cells of f2 see four of f0 and four of f1 alike; of x/f2/3 the nearest are of f0
    assert next(row for row in rows if row["id"] == "x/f2/3")["vote"].startswith("er")
    assert "smallest margin between the two best label sets" in (tmp_path / "out" / "README.txt").read_text()
    table = Atlas(store).classify(level="cell", k=4).to_pylist()
    for item in table:
        scores = sorted([s["score"] for s in item["scores"]] + [0.0], reverse=True)
        shown = next(row for row in rows if row["id"] == item["id"])["margin"]
        assert float(shown) == pytest.approx(scores[0] - scores[1], abs=5e-4)


def test_neighbors_that_all_have_the_same_two_localizations_are_certain(store: Store, tmp_path: Path) -> None:
    embedded(store, tmp_path)
    rows = store.read("cells").to_pylist()
    store.upsert("cells", image_rows([row | {"localizations": ["er", "golgi"]} for row in rows], "cell"))
    do(store, tmp_path / "out", choose="uncertain", n=12, k=4, show_labels=True)
    assert {row["margin"] for row in lines(tmp_path / "out")} == {"1.000"}
    assert all(row["vote"] == "er 1.00; golgi 1.00" for row in lines(tmp_path / "out"))


def test_the_least_certain_need_vectors(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no vectors"):
        do(store, tmp_path / "out", choose="uncertain")
    assert not (tmp_path / "out").exists()


def test_second_opinions(store: Store, tmp_path: Path) -> None:
    do(store, tmp_path / "out", n=3)
    ids = {row["id"] for row in lines(tmp_path / "out")}
    import_annotations(fill(tmp_path / "out", dict.fromkeys(ids, "er")), atlas=store.folder.path, annotator="anna")
    do(store, tmp_path / "second", annotated=True, annotator="ben")
    assert {row["id"] for row in lines(tmp_path / "second")} == ids
    assert do(store, tmp_path / "new", annotated=False)["left_out"] == {"annotated already": 3}
    with pytest.raises(
        InputError, match=r"no cell is left to choose from \(9 not annotated, 3 annotated by anna already"
    ):
        do(store, tmp_path / "nobody", annotated=True, annotator="anna")


def test_fields_can_be_annotated_too(store: Store, tmp_path: Path) -> None:
    done = do(store, tmp_path / "out", level="fov", vocabulary="hpa")
    assert (done["n"], done["level"]) == (3, "fov")
    assert "Nucleoli rim" in done["labels"]
    assert "--vocabulary hpa" in (tmp_path / "out" / "README.txt").read_text()


def test_images_without_a_picture_are_left_out_and_stored_thumbnails_are_told(store: Store, tmp_path: Path) -> None:
    rows = store.read_rows("cells", ["x/f0/1", "x/f0/2"]).to_pylist()
    vector = {**rows[0], "sources": [], "thumbnail": None}
    bare = {**rows[1], "thumbnail": None}
    store.upsert("cells", image_rows([vector, bare], "cell"))
    (store.folder.root_path("images") / "f0.tif").unlink()
    done = do(store, tmp_path / "out")
    assert (done["n"], done["pictures"]) == (10, {"source": 8, "thumbnail": 2})
    reasons = list(done["left_out"].items())
    assert reasons[0] == ("without an image (vectors made elsewhere)", 1)
    assert reasons[1][0].startswith("no picture, e.g. ")
    assert reasons[1][0].endswith("f0.tif: no such file")
    assert "2 pictures are stored thumbnails" in (tmp_path / "out" / "README.txt").read_text()
    assert (tmp_path / "out" / "index.html").read_text().count("stored thumbnail:") == 2
    assert [row["picture"] for row in lines(tmp_path / "out")] == [f"thumbnails/{n}.png" for n in range(1, 11)]


def test_a_folder_that_holds_something_is_never_touched(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    do(store, tmp_path / "out", n=1)
    before = (tmp_path / "out" / "sheet.csv").read_bytes()
    with pytest.raises(InputError, match="exists and is not an empty folder; a sheet that is filled in is never"):
        do(store, tmp_path / "out", n=2)
    assert (tmp_path / "out" / "sheet.csv").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        do(store, tmp_path / "file")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"choose": "best"}, "choose 'best'"),
        ({"n": 0}, "n = 0"),
        ({"edge_px": 8}, "pictures of 8 px: 16 to 2048"),
        ({"annotator": "a;b"}, "annotator 'a;b'"),
        ({"level": "protein"}, "unknown level 'protein'"),
    ],
)
def test_requests_that_make_no_sense_are_refused(asked: dict[str, Any], reason: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=reason):
        SheetRequest(**asked)


def test_the_crop_can_be_chosen(store: Store, tmp_path: Path) -> None:
    do(store, tmp_path / "out", n=1, crop=CropPlan.parse("30px"))
    assert "30 px around the cell" in (tmp_path / "out" / "README.txt").read_text()
