"""The atlas folder: creation that survives kills and races, declared roots."""

import os
from pathlib import Path

import pytest

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.store.layout import AtlasFolder


@pytest.fixture
def folder(tmp_path: Path) -> AtlasFolder:
    return AtlasFolder.create(tmp_path / "atlas", {"schema_version": 1})


def test_a_new_folder_becomes_an_atlas_and_is_opened_as_it_is_the_second_time(tmp_path: Path) -> None:
    made = AtlasFolder.create(tmp_path / "a" / "b", {"schema_version": 1})
    made.root_name(tmp_path, prefer="mine")
    again = AtlasFolder.create(tmp_path / "a" / "b", {"schema_version": 2})
    assert again.info() == {"format": "locatlas atlas", "roots": {"mine": str(tmp_path.resolve())}, "schema_version": 1}
    assert AtlasFolder.open(tmp_path / "a" / "b").path == made.path


def test_a_folder_with_other_things_is_not_made_an_atlas(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(InputError, match=r"not an atlas, and not empty \(holds 'thesis.doc'\)"):
        AtlasFolder.create(tmp_path, {})
    with pytest.raises(InputError, match="is a file; an atlas is a folder"):
        AtlasFolder.create(tmp_path / "thesis.doc", {})
    assert os.listdir(tmp_path) == ["thesis.doc"]


def test_a_creation_that_was_killed_is_completed(tmp_path: Path) -> None:
    left = tmp_path / "atlas"
    (left / "db").mkdir(parents=True)
    for name in (".lock", ".lock-owner", ".atlas.json.4242.tmp", "..lock-owner.4242.tmp"):
        (left / name).write_text("half")
    folder = AtlasFolder.create(left, {"schema_version": 1})
    with folder.writer("index"):
        assert sorted(os.listdir(left)) == [".lock", ".lock-owner", "atlas.json", "db"]


def test_tables_without_atlas_json_are_damage_and_not_a_new_atlas(tmp_path: Path) -> None:
    (tmp_path / "atlas" / "db" / "fovs.lance").mkdir(parents=True)
    with pytest.raises(StoreDamagedError, match=r"atlas.json: missing, though there are tables in db/; restore it"):
        AtlasFolder.create(tmp_path / "atlas", {})


def test_whoever_comes_second_to_a_new_atlas_leaves_the_roots_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has seen no atlas.json, and waits for the lock while the first writes it and declares a root."""
    path, is_file = tmp_path / "atlas", Path.is_file
    looked: list[Path] = []

    def first_comes_between(self: Path) -> bool:
        there = is_file(self)
        if self.name == "atlas.json" and not looked:
            looked.append(self)
            AtlasFolder.create(path, {"schema_version": 1}).root_name(tmp_path, prefer="first")
        return there

    monkeypatch.setattr(Path, "is_file", first_comes_between)
    assert AtlasFolder.create(path, {"schema_version": 1}).info()["roots"] == {"first": str(tmp_path)}
    assert looked


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', '{"format": "locatlas atlas"}', "\ufffd"])
def test_a_damaged_atlas_json_says_which_file(folder: AtlasFolder, text: str) -> None:
    folder.info_path.write_text(text)
    with pytest.raises(StoreDamagedError, match=r"atlas\.json: "):
        folder.info()


def test_opening_what_is_no_atlas_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"not an atlas \(no such folder\); `locatlas index SOURCE --atlas .*` makes one"
    ):
        AtlasFolder.open(tmp_path / "none")
    with pytest.raises(InputError, match=r"no atlas.json in it"):
        AtlasFolder.open(tmp_path)


def test_a_root_has_one_name_and_names_are_not_shared(folder: AtlasFolder, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert folder.root_name(tmp_path / "x", prefer="opencell") == "opencell"
    assert folder.root_name(tmp_path / "y", prefer="opencell") == "opencell-2"
    written = folder.info_path.stat().st_mtime_ns
    assert folder.root_name(tmp_path / "link", prefer="hpa") == "opencell"
    assert folder.info_path.stat().st_mtime_ns == written
    assert folder.root_path("opencell-2") == tmp_path / "y"
    with pytest.raises(StoreDamagedError, match=r"root 'hpa' is not declared; known: \['opencell', 'opencell-2'\]"):
        folder.root_path("hpa")
