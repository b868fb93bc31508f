"""backup and restore as a user calls them."""

from pathlib import Path

import pytest

from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from tests.cli.asking import document, run
from tests.query.made_atlas import make_atlas


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    folder = make_atlas(tmp_path / "atlas", levels=("fov",))
    AtlasFolder.open(folder).root_name(tmp_path / "nowhere", prefer="d")
    return folder


def test_an_atlas_is_backed_up_listed_checked_and_restored(atlas: Path, tmp_path: Path) -> None:
    done = document("backup", "--atlas", atlas, "--to", tmp_path / "backup")
    assert (done["new"], done["tables"]["fovs"], done["copied_files"]) == (True, 18, done["files"])
    assert not document("backup", "--atlas", atlas, "--to", tmp_path / "backup")["new"]
    listed = document("restore", tmp_path / "backup", "--list")["states"]
    assert [(s["state"], s["tables"]) for s in listed] == [(done["state"], done["tables"])]
    checked = document("restore", tmp_path / "backup", "--check")
    assert (checked["path"], checked["files"], checked["bytes"]) == (None, done["files"], done["bytes"])
    restored = document("restore", tmp_path / "backup", "--to", tmp_path / "again", "--state", done["state"])
    assert restored["path"] == str(tmp_path / "again")
    assert restored["missing_roots"] == {"d": str(tmp_path / "nowhere")}
    assert Store.open(tmp_path / "again").read("fovs").equals(Store.open(atlas).read("fovs"))


def test_what_happened_is_told_in_a_line_or_two(atlas: Path, tmp_path: Path) -> None:
    first = run("backup", "--atlas", atlas, "--to", tmp_path / "backup")
    assert "were new and copied" in first.stdout
    assert "Not part of a backup: source images, and weights of encoders" in first.stderr
    again = run("backup", "--atlas", atlas, "--to", tmp_path / "backup")
    assert ": nothing new since " in again.stdout
    restored = run("restore", tmp_path / "backup", "--to", tmp_path / "again")
    assert "every digest as it was copied" in restored.stdout
    assert f"`locatlas maintain --atlas {tmp_path / 'again'} --root d=FOLDER`" in restored.stderr
    table = run("restore", tmp_path / "backup", "--to", tmp_path / "aside", "--table", "fovs")
    assert (table.exit_code, sorted(p.name for p in (tmp_path / "aside").iterdir())) == (0, ["fovs.lance"])


@pytest.mark.parametrize(
    "options",
    [(), ("--check", "--list"), ("--list", "--state", "x"), ("--check", "--table", "fovs"), ("--to", "x", "--check")],
)
def test_options_that_contradict_are_wrong_usage(options: tuple[str, ...], tmp_path: Path) -> None:
    assert run("restore", tmp_path / "backup", *options).exit_code == 2


def test_a_root_is_told_anew(atlas: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    found = document("maintain", "--atlas", atlas, "--root", f"d={tmp_path / 'here'}")
    assert found["roots"] == {"d": str(tmp_path / "here")}
    assert document("status", "--atlas", atlas)["roots"]["d"] == {"path": str(tmp_path / "here"), "present": True}
    for wrong in ("d", "=x", "d="):
        assert run("maintain", "--atlas", atlas, "--root", wrong).exit_code == 2
    assert run("maintain", "--atlas", atlas, "--root", "d=/a", "--root", "d=/b").exit_code == 2
