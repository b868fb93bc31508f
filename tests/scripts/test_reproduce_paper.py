import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from fetching.errors import FetchError
from reproduce_paper import Step, reproduce, run, small_grid, steps
from reproduced_page import page

from locatlas.query.benchmark.grid import list_grids, load_grid
from locatlas.query.benchmark.run import planned

GRID = """title = "Two plans"
question = "Which?"
caution = "Made."
published = ["frozen-hpa-fov"]
[[encoders]]
name = "locatlas_pico.untrained"
mappings = ["natural", "replicate"]
passes = ["separate"]
[measure]
levels = ["fov"]
protocols = ["protein-out"]
classifiers = ["knn"]
ks = [1, 3]
compare_k = 3
"""


def words(found: list[Step]) -> list[str]:
    return [step.shown() for step in found]


def test_the_real_way_fetches_indexes_and_measures_in_this_order(tmp_path: Path) -> None:
    found = words(steps(tmp_path, grids=["paper-fov-frozen", "paper-single-cell-k"]))
    assert [line.split()[1].rpartition("/")[2] for line in found] == [
        "get_opencell.py", "get_weights.py", "index", "benchmark", "benchmark",
    ]  # fmt: skip
    assert "vit_base_patch16.hpa_cell_dino4cells" in found[1]
    assert "--level both" in found[2]
    assert "--segmenter builtin" in found[2]


def test_fields_alone_need_no_segmentation(tmp_path: Path) -> None:
    index = words(steps(tmp_path, grids=["paper-channel-plans"]))[2]
    assert "--level fov" in index
    assert "--segmenter" not in index


def test_encoders_given_replace_those_of_the_grids_and_are_fetched_where_they_can_be(tmp_path: Path) -> None:
    found = words(steps(tmp_path, grids=["paper-channel-plans"], encoders=["locatlas_pico.untrained"]))
    assert not any("get_weights" in line for line in found)
    assert all("--encoder locatlas_pico.untrained" in line for line in found if line.startswith("locatlas "))


def test_made_images_need_nothing_from_outside(tmp_path: Path) -> None:
    found = words(steps(tmp_path, grids=list_grids(), encoders=["locatlas_pico.untrained"], synthetic=True))
    assert all(line.startswith("locatlas ") for line in found)
    assert len(found) == 1 + len(list_grids())


@pytest.mark.parametrize("name", list_grids())
def test_a_grid_that_is_cut_down_still_loads_and_keeps_its_question(name: str, tmp_path: Path) -> None:
    path = small_grid(name, tmp_path)
    whole = load_grid(name)
    if path is None:
        assert set(whole.objectives) == {"frozen"}
        assert "min_groups" not in whole.settings
        return
    cut = load_grid(path)
    assert (cut.title, cut.question, cut.protocols, cut.classifiers) == (
        whole.title, whole.question, whole.protocols, whole.classifiers,
    )  # fmt: skip
    tuned = {
        cell.without("classifier", "k", "votes")
        for cells in planned(cut)[0].values()
        for cell in cells
        if cell.objective != "frozen"
    }
    assert len(tuned) == (2 if set(whole.objectives) - {"frozen"} else 0)


def test_a_step_that_fails_names_itself(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"^data: exit code 3"):
        run(Step("data", (sys.executable, "-c", "raise SystemExit(3)")))


def test_what_a_step_prints_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    kept = tmp_path / "a" / "out.json"
    run(Step("one", (sys.executable, "-c", "print(1)"), kept))
    assert kept.read_text() == "1\n"
    with pytest.raises(FetchError):
        run(Step("two", (sys.executable, "-c", "print(2); raise SystemExit(1)"), kept))
    assert kept.read_text() == "1\n"


def test_a_dry_run_prints_commands_and_makes_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(reproduce, [str(tmp_path / "w"), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "locatlas benchmark paper-channel-plans" in result.output
    assert not (tmp_path / "w").exists()


def test_a_dry_run_on_made_images_tells_of_the_images_and_names_the_grids_that_are_run(tmp_path: Path) -> None:
    work = tmp_path / "w"
    result = CliRunner().invoke(
        reproduce, [str(work), "--synthetic", "--dry-run", "--grid", "paper-finetune-fractions"]
    )
    assert result.exit_code == 0, result.output
    images, grid, *commands = result.output.splitlines()
    assert images.startswith("# draws 6 proteins of each class")
    path = work / "grids" / "paper-finetune-fractions.toml"
    assert grid == f"# writes {path}: paper-finetune-fractions, cut down"
    assert any(f"benchmark {path} " in line for line in commands)
    assert not work.exists()


def document() -> dict[str, object]:
    """What `locatlas benchmark --json` prints, as far as the page needs it."""
    plan = {
        "encoder": "e", "mapping": "natural", "passes": "joint", "stains": [], "objective": "frozen", "level": "fov",
        "labels": "single", "protocol": "protein-out", "fraction": 1.0, "n_seeds": 1, "n_orders": 1, "n": 40.0,
        "n_groups": 20, "n_classes": 3, "accuracy": 0.5, "macro_f1_sd": None,
    }  # fmt: skip
    knn = plan | {"classifier": "knn", "votes": "uniform"}
    rows = [knn | {"k": k, "macro_f1": 0.4 + k / 100, "macro_f1_ci95": [0.3, 0.5]} for k in (1, 10)]
    head = plan | {
        "classifier": "linear", "k": None, "votes": None, "macro_f1": 0.6, "macro_f1_sd": 0.02, "macro_f1_ci95": None,
    }  # fmt: skip
    compared = {
        "first": "a|b", "second": "c", "classifier": "knn", "k": 10, "protocol": "protein-out", "fraction": 1.0,
        "difference": -0.1, "ci95": [-0.2, 0.0], "detectable": 0.15, "p_holm": 0.0123,
    }  # fmt: skip
    return {
        "grid": {"title": "Plans", "question": "Which?", "caution": ""},
        "summaries": [*rows, head],
        "published": [{"value": 0.796, "at_least": True, "spread": None, "condition": "cells", "source": "abstract"}],
        "orderings": [],
        "comparisons": [compared],
        "notes": ["made"],
        "left_out": {"joint and replicate": 2},
        "left_out_rows": {"several labels": 10},
    }


def test_the_page_has_a_line_a_plan_and_a_column_a_k() -> None:
    lines = page([document()], about="Made.", commands=["locatlas index x"]).splitlines()
    assert lines[0] == "# Reproduced"
    head = next(line for line in lines if line.startswith("| encoder and plan"))
    assert head == "| encoder and plan | by | fraction | seeds | head | k = 1 | k = 10 |"
    knn = next(line for line in lines if "k-NN uniform" in line)
    expected = "| e, natural, joint | k-NN uniform | 1 | 1 |  | 0.410<br>0.300 to 0.500 | 0.500<br>0.300 to 0.500 |"
    assert knn == expected
    assert "| e, natural, joint | linear | 1 | 1 | 0.600 ± 0.020 |  |  |" in lines
    assert "| at least 0.796 | cells | abstract |" in lines
    assert "| a\\|b | c | 10-NN | protein-out | 1 | -0.100 | -0.200 to 0.000 | 0.150 | 0.012 |" in lines
    assert "- left out: 10 rows (several labels)" in lines
    assert "**protein-out, level fov, single-label: 40 scored rows, 20 groups, 3 classes**" in lines


@pytest.mark.slow
def test_the_whole_way_on_made_images_ends_in_a_page_and_a_second_run_measures_nothing(tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(GRID)
    options = ["--synthetic", "--grid", str(tmp_path / "two.toml"), "--encoder", "locatlas_pico.untrained"]
    options += ["--proteins", "2", "--edge-px", "64"]
    for n_measured in (4, 0):
        result = CliRunner().invoke(reproduce, [str(tmp_path / "w"), *options])
        assert result.exit_code == 0, result.output
        told = json.loads((tmp_path / "w" / "results" / "two.json").read_text())
        assert (told["n_cells"], told["n_measured"]) == (4, n_measured)
    text = (tmp_path / "w" / "reproduced.md").read_text()
    assert "## Two plans" in text
    assert f"{told['summaries'][0]['macro_f1']:.3f}" in text
    assert (tmp_path / "w" / "results" / "two" / "results.csv").is_file()


def test_two_grids_of_one_name_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    asked = ["--grid", str(tmp_path / "a" / "mine.toml"), "--grid", str(tmp_path / "b" / "mine.toml")]
    result = CliRunner().invoke(reproduce, [str(tmp_path / "w"), "--dry-run", *asked])
    assert "mine: two grids of this name would share" in str(result.exception)
    assert not (tmp_path / "w").exists()
