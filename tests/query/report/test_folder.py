"""A folder appears whole or not at all, and what somebody else put there is never deleted."""

import json
from pathlib import Path

import pytest

from locatlas.errors import InputError
from locatlas.query.report.folder import CONTENTS, check_free, made_whole


def write(out: Path, *, overwrite: bool = False, text: str = "one") -> None:
    with made_whole(out, overwrite=overwrite) as folder:
        (folder / "index.html").write_text(text)
        (folder / CONTENTS).write_text(json.dumps({"files": ["index.html", CONTENTS]}))


def test_a_folder_is_made_with_those_above_it_and_replaced_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "above" / "out"
    write(out)
    with pytest.raises(InputError, match="exists; name another folder, or --overwrite"):
        check_free(out, overwrite=False)
    write(out, overwrite=True, text="two")
    assert (out / "index.html").read_text() == "two"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    check_free(tmp_path, overwrite=False)


@pytest.mark.parametrize("name", ["notes.txt", "below/notes.txt"])
def test_a_folder_with_a_file_of_somebody_else_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    write(out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    with pytest.raises(InputError, match="which no report made; it is not overwritten"):
        write(out, overwrite=True, text="two")
    assert (out / name).read_text() == "mine"
    assert (out / "index.html").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("contents", ["{", "[]", '{"files": 1}', '{"files": ["other"]}', None])
def test_a_folder_that_is_no_report_is_never_overwritten(tmp_path: Path, contents: str | None) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    if contents is not None:
        (tmp_path / CONTENTS).write_text(contents)
    with pytest.raises(InputError, match="which no report made"):
        check_free(tmp_path, overwrite=True)


def test_a_file_or_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(InputError, match="exists and is not a folder"):
            check_free(tmp_path / name, overwrite=True)


def test_what_fails_leaves_nothing_new_and_the_old_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out)

    def stopped() -> None:
        with made_whole(out, overwrite=True) as folder:
            (folder / "index.html").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (out / "index.html").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_rename_that_fails_brings_the_old_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write(out)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="No space left"):
        write(out, overwrite=True, text="two")
    assert (out / "index.html").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
