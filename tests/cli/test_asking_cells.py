"""Commands that ask of cells and proteins, on an atlas of made vectors: documents, tables, one line for bad input."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from locatlas.cli import group, main
from locatlas.cli.documents import DOCUMENTS
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from tests.query.made_atlas import make_atlas


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_atlas(tmp_path_factory.mktemp("made") / "atlas")


def run(command: str, atlas: Path, *arguments: object) -> Result:
    wide = {"COLUMNS": "200"}  # a narrow terminal folds the headings
    done = CliRunner(env=wide).invoke(group, [command, "--atlas", str(atlas), *map(str, arguments)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def document(command: str, atlas: Path, *arguments: object) -> dict[str, Any]:
    """The command's JSON, checked against its documented schema."""
    found: dict[str, Any] = json.loads(run(command, atlas, *arguments, "--json").stdout)
    DOCUMENTS[command].model_validate(found)
    return found


def test_units_are_classified_and_shown_with_what_their_cells_say(atlas: Path) -> None:
    asked = ("--level", "cell", "--by", "protein", "--how", "mean", "-k", 5)
    found = document("classify", atlas, *asked)
    assert (found["by"], found["how"], found["items"], len(found["units"])) == ("protein", "mean", [], 6)
    shown = run("classify", atlas, *asked)
    assert "6 classified by protein, mean of cells' votes by 5 neighbors (softmax votes, made)" in shown.stdout
    assert "heterogeneity" in shown.stdout
    assert "12 of 72 cells are annotated" in shown.stderr
    assert "top 0.5 of cells' votes" in run("classify", atlas, "--by", "fov", "--how", "top", "--top", 0.5).stdout


def test_a_sweep_by_protein_and_by_source(atlas: Path, tmp_path: Path) -> None:
    found = document("sweep", atlas, "--by", "protein", "--how", "majority", "--ks", "1,5", "--csv", tmp_path / "s.csv")
    assert (found["level"], found["by"], found["n"], found["n_rows"]) == ("cell", "protein", 6, 72)
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 3
    assert (
        "6 units (protein, majority) of 6 groups" in run("sweep", atlas, "--by", "protein", "--how", "majority").stdout
    )
    own = document("sweep", atlas, "--label-source", "annotated", "--ks", 1)
    assert (own["level"], own["label_source"], own["n"]) == ("cell", "annotated", 11)


def test_neighbors_of_a_protein_say_whether_they_mean_anything(atlas: Path) -> None:
    asked = ("--protein", "P1", "--level", "protein", "--profile", "medoid", "--of", "cell", "-k", 2)
    found = document("neighbors", atlas, *asked)
    assert found["profile"] == {"how": "medoid", "of": "cell"}
    assert found["similarity_context"]["n_within"] == 48
    assert all(hit["medoid"].startswith("d/") for hit in found["hits"])
    line = run("neighbors", atlas, *asked).stdout.strip().splitlines()[-1]
    assert line == found["similarity_context"]["said"]
    assert line.startswith("cells of P1 resemble each other")
    assert document("neighbors", atlas, "--id", "d/00", "-k", 1)["similarity_context"] is None


def test_proteins_are_listed_worst_first_and_written_as_csv(atlas: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    found = document("proteins", atlas, "--of", "cell", "--sort", "auc", "--worst-first", "-k", 5, "--csv", path)
    aucs = [p["auc"] for p in found["proteins"]]
    assert aucs == sorted(aucs)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["protein"] for row in rows] == [p["protein"] for p in found["proteins"]]
    assert [float(row["auc"]) for row in rows] == pytest.approx(aucs)
    assert [row["localizations"] for row in rows] == [";".join(p["localizations"]) for p in found["proteins"]]
    shown = run("proteins", atlas)
    assert "6 proteins by their fov images" in shown.stdout
    assert "all proteins: within" in shown.stdout
    assert "heterogeneity" not in shown.stdout
    assert "heterogeneity" in run("proteins", atlas, "-k", 3).stdout


def test_proteins_of_one_field_each_have_no_auc_and_one_line_says_why(atlas: Path) -> None:
    alone = ("-w", "plate=plate1")  # one field of each protein
    for of in ("fov", "cell"):
        found = document("proteins", atlas, "--of", of, *alone)
        assert {p["auc"] for p in found["proteins"]} == {None}
        assert sum("every protein has images of one field only" in note for note in found["notes"]) == 1
    assert "note: every protein has images of one field only" in run("proteins", atlas, *alone).stderr
    assert "one field only" not in run("proteins", atlas).stderr


def test_a_sweep_that_leaves_out_most_for_their_labels_names_the_option_that_takes_them(tmp_path: Path) -> None:
    store = Store.open(make_atlas(tmp_path / "atlas", levels=("fov",)))
    rows = [
        row | {"localizations": ["er", "golgi"] if row["protein"] in ("P2", "P3", "P4", "P5") else ["er"]}
        for row in store.read("fovs").to_pylist()
    ]
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows(rows[:9], "fov"))
    asked = ("sweep", tmp_path / "atlas", "--ks", 1)
    assert "left out: 3 (several labels)\n" in run(*asked).stderr
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows(rows, "fov"))
    assert "left out: 12 (several labels); --labels multi takes them\n" in run(*asked).stderr
    assert "left out" not in run(*asked, "--labels", "multi").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "--level", "fov", "--label-source", "annotated"], "only cells are annotated"),
        (["classify", "--level", "fov", "--by", "protein"], "level cell needed, not fov"),
        (["classify", "--how", "mean"], "how needs by"),
        (["neighbors", "--protein", "P1", "--of", "cell"], "level protein needed"),
        (["classify", "--at", "3,4"], "an image needed"),
        (
            ["neighbors", "--id", "d/00", "--level", "cell"],
            "'d/00' is a field with 4 cells; name one of them, e.g. d/00/0, or ask --level fov",
        ),
        (["proteins", "--sort", "heterogeneity"], "number of neighbors that vote, needed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_clear_line(
    atlas: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--atlas", str(atlas)])
    assert exit_.value.code == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("text", ["3", "3,4,5", "a,b", "3;4"])
def test_a_point_is_two_numbers(atlas: Path, text: str) -> None:
    done = CliRunner().invoke(group, ["neighbors", "--atlas", str(atlas), "--image", "x.tif", "--at", text])
    assert done.exit_code == 2
    assert "two numbers Y,X in pixels needed" in done.output
