"""One writer at a time: who comes second is told by whom, and a dead one holds nothing."""

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

from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.store import locks
from locatlas.indexer.store.layout import AtlasFolder
from tests.indexer.store.test_layout import folder

__all__ = ["folder"]

HOLD = """
import sys, time
from pathlib import Path
from locatlas.indexer.store.layout import AtlasFolder
with AtlasFolder.open(Path(sys.argv[1])).writer("index /images"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(folder: AtlasFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


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

    monkeypatch.setattr(locks.FileLock, "acquire", fail)
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
