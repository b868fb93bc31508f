"""Where results of grids go."""

from pathlib import Path

import pytest

from locatlas.cli.result_folder import result_folder, sign
from locatlas.errors import InputError


def test_a_grid_keeps_its_folder_and_two_files_of_one_name_have_one_each(tmp_path: Path) -> None:
    atlas, first, second = tmp_path / "atlas", tmp_path / "a" / "mine.toml", tmp_path / "b" / "mine.toml"
    folders = {}
    for _ in range(2):
        for grid in (first, second):
            folder = result_folder(atlas, str(grid))
            folder.mkdir(parents=True, exist_ok=True)
            sign(folder, str(grid))
            assert folders.setdefault(grid, folder) == folder
    assert folders[first] == atlas / "benchmarks" / "mine"
    assert folders[second].parent == folders[first].parent
    assert folders[second].name.startswith("mine-")
    assert len(set(folders.values())) == 2


def test_results_from_before_this_was_written_down_keep_their_folder(tmp_path: Path) -> None:
    before = tmp_path / "benchmarks" / "mine"
    before.mkdir(parents=True)
    (before / "result.json").write_text("{}")
    assert result_folder(tmp_path, "mine.toml") == before


def test_a_grid_of_locatlas_has_its_folder_alone(tmp_path: Path) -> None:
    own = result_folder(tmp_path, "paper-fov-frozen")
    assert own == tmp_path / "benchmarks" / "paper-fov-frozen"
    file = result_folder(tmp_path, "paper-fov-frozen.toml")
    assert file != own
    assert file.name.startswith("paper-fov-frozen-")
    with_other = result_folder(tmp_path, "paper-fov-frozen", ["a b/c", "current"])
    assert with_other.name == "paper-fov-frozen-a_b_c-current"


def test_a_file_by_a_relative_path_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = result_folder(tmp_path, "mine.toml")
    folder.mkdir(parents=True)
    sign(folder, "mine.toml")
    assert result_folder(tmp_path, str(tmp_path / "mine.toml")) == folder


def test_a_damaged_signature_is_told(tmp_path: Path) -> None:
    (tmp_path / "benchmarks" / "mine").mkdir(parents=True)
    (tmp_path / "benchmarks" / "mine" / "grid.json").write_text("[]")
    with pytest.raises(InputError, match=r"grid\.json: does not say which grid"):
        result_folder(tmp_path, "mine.toml")
