"""The atlas folder: creation that survives kills and races, atomic files, declared roots, one writer."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import AtlasLockedError, InputError, StoreDamagedError
from locatlas.indexer.store import layout
from locatlas.indexer.store.layout import AtlasFolder, write_atomically

HOLD = """
import sys, time
from pathlib import Path
from locatlas.indexer.store.layout import AtlasFolder
with AtlasFolder.open(Path(sys.argv[1])).writer("index /images"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> AtlasFolder:
    return AtlasFolder.create(tmp_path / "atlas", {"schema_version": 1})


@pytest.fixture
def holder(folder: AtlasFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


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


def test_an_atomic_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_an_atomic_write_is_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda f: (calls.append("fsync"), fsync(f))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (calls.append("rename"), replace(a, b))[1])
    write_atomically(tmp_path / "sub" / "file", b"new")
    assert calls == ["fsync", "rename", "fsync"]


def test_a_second_process_is_told_who_writes_and_for_how_long(
    folder: AtlasFolder, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    with pytest.raises(AtlasLockedError) as caught, folder.writer("embed"):
        pass
    age = int(str(caught.value).partition(" for ")[2].partition(" s)")[0])
    assert 3590 <= age <= 3660
    assert f"another writer holds this atlas (`index /images`, process {holder.pid} on " in str(caught.value)
    assert str(caught.value).endswith("wait for it or stop it. Queries keep working")
    assert folder.info()["roots"] == {}


def test_a_killed_writer_leaves_no_lock(folder: AtlasFolder, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with folder.writer("embed"):
        assert json.loads((folder.path / ".lock-owner").read_text())["pid"] == os.getpid()
    assert not (folder.path / ".lock-owner").exists()


@pytest.mark.parametrize("owner", [None, "", "[]", '{"since": "x"}'])
def test_a_lock_whose_owner_is_not_known_is_a_lock(folder: AtlasFolder, owner: str | None) -> None:
    with folder.writer("index"):
        path = folder.path / ".lock-owner"
        path.unlink() if owner is None else path.write_text(owner)
        with pytest.raises(AtlasLockedError, match=r"\(another process\)"), folder.writer("embed"):
            pass


def test_the_lock_is_given_back_when_the_writer_fails(folder: AtlasFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.writer("index"):
        _ = 1 / 0
    with folder.writer("again"):
        pass


@pytest.mark.parametrize(
    ("error", "told"),
    [(PermissionError(13, "Permission denied"), "Permission denied"), (NotImplementedError(), "no file locks")],
)
def test_a_folder_that_cannot_be_locked_is_told_in_one_line(
    folder: AtlasFolder, error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(layout.FileLock, "acquire", fail)
    with pytest.raises(InputError, match=told), folder.writer("index"):
        pass
    with pytest.raises(InputError, match=told):
        AtlasFolder.create(tmp_path / "other", {})


def test_a_writer_is_seen_while_it_writes_and_a_dead_one_is_not(tmp_path: Path) -> None:
    folder = AtlasFolder.create(tmp_path / "a", {})
    assert not folder.is_being_written()
    with folder.writer("test"):
        assert folder.is_being_written()
        owner = json.loads((folder.path / ".lock-owner").read_text())
    assert not folder.is_being_written()
    dead = subprocess.Popen(["true"])
    dead.wait()
    (folder.path / ".lock-owner").write_text(json.dumps(owner | {"pid": dead.pid}))
    assert not folder.is_being_written()
