"""Where exports go: whole or not at all, and nothing of others is replaced."""

from pathlib import Path

import pytest

from locatlas.errors import InputError
from locatlas.query.export.target import check_target, whole_file, whole_folder

NAMES = ("a", "b")


def write_folder(path: Path, text: str, *, overwrite: bool = False) -> None:
    with whole_folder(path, NAMES, overwrite=overwrite) as temporary:
        for name in NAMES:
            (temporary / name).write_text(text)


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    with whole_file(out, overwrite=False) as temporary:
        temporary.write_text("new")
        assert not out.exists()
        assert temporary.suffix == ".parquet"
    assert out.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


def test_what_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_text("old")

    def fail() -> None:
        with whole_file(out, overwrite=True) as temporary:
            temporary.write_text("ne")
            raise OSError(28, "full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert out.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


def test_a_file_that_is_there_is_refused_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_text("old")
    with pytest.raises(InputError, match=r"out\.parquet: exists; --overwrite replaces it"):
        check_target(out, overwrite=False)
    with whole_file(out, overwrite=True) as temporary:
        temporary.write_text("new")
    assert out.read_text() == "new"


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"

    def write() -> None:
        with whole_file(out, overwrite=False) as temporary:
            temporary.write_text("new")
            out.write_text("of another")

    with pytest.raises(InputError, match="exists"):
        write()
    assert out.read_text() == "of another"
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


def test_a_dangling_link_counts_as_there(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists"):
        check_target(out, overwrite=False)


def test_folders_are_replaced_whole_and_only_if_they_hold_an_export(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, "old")
    with pytest.raises(InputError, match="exists; --overwrite"):
        write_folder(out, "new")
    write_folder(out, "new", overwrite=True)
    assert {p.name: p.read_text() for p in out.iterdir()} == {"a": "new", "b": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (out / "thesis.doc").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'thesis\.doc', which no export wrote"):
        write_folder(out, "newer", overwrite=True)
    assert (out / "thesis.doc").read_text() == "mine"


def test_a_folder_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, "old")

    def fail() -> None:
        with whole_folder(out, NAMES, overwrite=True) as temporary:
            (temporary / "a").write_text("new")

    with pytest.raises(FileNotFoundError):  # b was not written
        fail()
    assert (out / "b").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_other_kind_and_a_missing_parent_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file; name another path"):
        check_target(tmp_path / "file", overwrite=True, folder_of=NAMES)
    with pytest.raises(InputError, match="is a folder; name another path"):
        check_target(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="there is no folder"):
        check_target(tmp_path / "no" / "file", overwrite=False)
