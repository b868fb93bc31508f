"""`map` as a user gives it: its document, its figure, and what it says."""

from pathlib import Path

import pytest

from tests.cli.asking import document, run
from tests.query.made_atlas import make_atlas


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    return make_atlas(tmp_path / "atlas")


def test_a_map_is_drawn_kept_and_told_by_status(atlas: Path, tmp_path: Path) -> None:
    found = document("map", "--atlas", atlas, "--level", "cell", "--plot", tmp_path / "map.png")
    assert (found["action"], found["points"], found["method"]) == ("drawn", 72, "pca")
    assert (tmp_path / "map.png").stat().st_size > 1000
    assert document("map", "--atlas", atlas, "--level", "cell")["action"] == "unchanged"
    said = document("status", "--atlas", atlas)["maps"]
    assert [(m["level"], m["method"], m["points"], m["current"]) for m in said] == [("cell", "pca", 72, True)]
    assert "map: pca of 72 cells by made" in run("status", "--atlas", atlas).stdout


def test_what_was_done_is_one_line(atlas: Path) -> None:
    told = run("map", "--atlas", atlas, "--level", "protein", "--of", "cell").stdout
    assert told.strip().endswith("seed 0: drawn (there was none)")
    assert "pca of 6 proteins by made" in told


def test_wrong_usage_and_bad_input_end_with_2_and_1(atlas: Path, tmp_path: Path) -> None:
    assert run("map", "--atlas", atlas, "--method", "phate").exit_code == 2
    assert run("map", "--atlas", tmp_path / "nothing").exit_code == 1
    assert run("map", "--atlas", atlas, "--perplexity", 5).exit_code == 1
