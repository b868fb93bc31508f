"""`benchmark` as a user runs it: lists, plans, tables, documents, one line for what is refused."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from locatlas.cli import group, main
from locatlas.cli.documents import BenchmarkDocument
from locatlas.query.benchmark import run as run_module
from locatlas.query.benchmark.grid import Grid
from locatlas.query.benchmark.tables import by_condition, how_many_seeds
from tests.query.made_training import TINY, make_atlas

GRID = f'''title = "Plans"
question = "Which?"
caution = "Few fields."
published = ["frozen-hpa-fov"]
[[encoders]]
name = "{TINY}"
mappings = ["natural", "replicate"]
passes = ["separate"]
[measure]
protocols = ["protein-out"]
ks = [1, 3, 50]
compare_k = 3
'''


def run(*arguments: str) -> Result:
    return CliRunner().invoke(group, [*arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("benchmark")
    patch = pytest.MonkeyPatch()
    patch.setenv("LOCATLAS_HOME", str(folder / "home"))
    atlas = make_atlas(folder)
    (folder / "plans.toml").write_text(GRID)
    result = run("benchmark", str(folder / "plans.toml"), "--atlas", str(atlas))
    patch.undo()
    assert "Plans: 4 cells, 4 measured now" in result.stdout
    return str(atlas), result.output


def test_the_table_tells_scores_differences_published_numbers_and_what_was_left_out(made: tuple[str, str]) -> None:
    atlas, output = made
    assert f"{TINY}, natural, separate" in output
    assert "macro F1 of the first less that of the second" in output
    assert "published: 0.822 ± 0.007: OpenCell fields" in output
    assert "caution: Few fields." in output
    assert "not measured: 2 (k = 50: some query has only" in output
    assert f"tables and figures: {atlas}/benchmarks/plans" in output
    assert (Path(atlas) / "benchmarks" / "plans" / "figure_plans.svg").exists()


def test_the_document_fits_its_schema_and_measures_nothing_twice(
    made: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unpainted: None
) -> None:
    atlas = made[0]
    monkeypatch.setenv("LOCATLAS_HOME", str(Path(atlas).parent / "home"))
    done = run(
        "benchmark", str(Path(atlas).parent / "plans.toml"), "--atlas", atlas, "--out", str(tmp_path / "o"), "--json"
    )  # fmt: skip
    document = json.loads(done.stdout)
    checked = BenchmarkDocument.model_validate(document)
    assert set(document) == set(BenchmarkDocument.model_fields)
    assert (checked.n_cells, checked.n_measured) == (4, 0)
    there = {path.name for path in (tmp_path / "o").iterdir()}
    assert set(checked.files) == there


def test_what_another_result_left_in_the_folder_goes_and_other_files_stay(
    made: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unpainted: None
) -> None:
    atlas, out = made[0], tmp_path / "out"
    monkeypatch.setenv("LOCATLAS_HOME", str(Path(atlas).parent / "home"))
    alone = GRID.replace('["natural", "replicate"]', '["natural"]').replace("[1, 3, 50]", "[1, 50]")
    (tmp_path / "alone.toml").write_text(alone.replace("compare_k = 3", "compare_k = 50"))
    assert run("benchmark", str(Path(atlas).parent / "plans.toml"), "-a", atlas, "--out", str(out)).exit_code == 0
    before = {path.name for path in out.iterdir()}
    (out / "mine.txt").write_text("kept")
    done = run("benchmark", str(tmp_path / "alone.toml"), "-a", atlas, "--out", str(out), "--json")
    document = json.loads(done.stdout)
    assert {"comparisons.csv", "figure_plans.svg", "figure_f1_by_k.csv"} <= before - set(document["files"])
    assert {path.name for path in out.iterdir()} == {*document["files"], "mine.txt"}
    assert any("compared and shown at k = 1, since 50 exceeds the references" in note for note in document["notes"])


def test_results_of_other_encoders_stand_beside_those_of_the_grid(
    made: tuple[str, str], monkeypatch: pytest.MonkeyPatch, unpainted: None
) -> None:
    atlas = made[0]
    monkeypatch.setenv("LOCATLAS_HOME", str(Path(atlas).parent / "home"))
    done = run("benchmark", str(Path(atlas).parent / "plans.toml"), "-a", atlas, "-e", "current", "--json")
    assert json.loads(done.stdout)["folder"] == str(Path(atlas) / "benchmarks" / "plans-current")


def test_a_label_source_that_is_named_replaces_the_grids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def planned(grid: Grid) -> tuple[dict[object, object], dict[str, int]]:
        given.append(grid.settings.get("label_source"))
        return {}, {}

    monkeypatch.setattr(run_module, "planned", planned)
    own = GRID.replace("[measure]", '[settings]\nlabel_source = "annotated"\n[measure]\nlevels = ["cell"]')
    (tmp_path / "own.toml").write_text(own)
    for more in ((), ("--label-source", "inherited")):
        assert run("benchmark", str(tmp_path / "own.toml"), "--dry-run", "--json", *more).exit_code == 0
    assert given == ["annotated", "inherited"]


def test_tables_of_summaries_have_the_rows_groups_and_classes_of_all_their_lines() -> None:
    same = {"protocol": "protein-out", "level": "fov", "labels": "single", "n_groups": 3, "n_classes": 2}
    rows = [{**same, "n": 9, "line": 1}, {**same, "n": 8, "line": 2}, {**same, "n": 9, "line": 3}]
    assert {title: [row["line"] for row in found] for title, found in by_condition(rows).items()} == {
        "protein-out, level fov, single-label: 9 scored rows, 3 groups, 2 classes": [1, 3],
        "protein-out, level fov, single-label: 8 scored rows, 3 groups, 2 classes": [2],
    }
    assert how_many_seeds({"n_seeds": 3, "n_orders": 2}) == "3 x 2 orders"
    assert how_many_seeds({"n_seeds": 3, "n_orders": 1}) == "3"


def test_grids_are_listed_shown_and_planned_without_an_atlas() -> None:
    listed = json.loads(run("benchmark", "--list", "--json").stdout)
    assert {one["name"] for one in listed} >= {"paper-fov-frozen", "paper-channel-plans"}
    shown = run("benchmark", "paper-fov-frozen", "--show").stdout
    assert shown.startswith("title = ")
    planned = json.loads(run("benchmark", "paper-finetune-fractions", "--dry-run", "--json").stdout)
    assert planned["n_trainings"] == 2 * 5 * 3
    assert planned["n_cells"] == 3 * 5 * 3 * 2


def test_what_is_missing_or_unknown_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, words in (
        (["benchmark"], 2, "Missing argument 'GRID'"),
        (["benchmark", "paper-fov-frozen"], 2, "Missing option '--atlas'"),
        (["benchmark", "paper-fov"], 1, "unknown grid 'paper-fov'"),
        (["benchmark", "paper-fov-frozen", "--atlas", str(tmp_path)], 1, "no atlas"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == code
        assert words in capsys.readouterr().err
