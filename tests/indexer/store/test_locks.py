"""Locks with notes: who is waited for, and for how long, is decided by the note."""

import errno
import json
import threading
from pathlib import Path

import pytest

from locatlas.errors import AtlasLockedError
from locatlas.indexer.store import locks
from locatlas.indexer.store.locks import NotedLock, Owner


@pytest.fixture
def lock(tmp_path: Path) -> NotedLock:
    return NotedLock(tmp_path / "lock", tmp_path / "note")


def refuse(owner: Owner | None) -> AtlasLockedError:
    return AtlasLockedError(str(owner))


def test_a_holder_that_stays_is_not_waited_for(lock: NotedLock, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lock.acquire(patient=False, refuse=refuse)
    lock.write_note(Owner(command="index"))
    now = [0.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(locks.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    with pytest.raises(AtlasLockedError, match=r"`index`, process \d+ on "):
        lock.acquire(patient=False, refuse=refuse)
    assert now[0] < locks.GLANCE_S + 2 * locks.POLL_S
    lock.release(held)
    assert lock.owner() is None


@pytest.mark.parametrize("brief", [True, None], ids=["for moments", "not known yet"])
def test_a_holder_for_moments_and_one_who_is_not_known_yet_are_waited_for(
    lock: NotedLock, brief: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lock.acquire(patient=False, refuse=refuse)
    if brief:
        lock.write_note(Owner(command="reembed", brief=True))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            lock.release(held)

    monkeypatch.setattr(locks.time, "sleep", sleep)
    lock.release(lock.acquire(patient=False, refuse=refuse))
    assert len(slept) == 3


def test_a_lock_is_given_back_though_its_note_cannot_be_removed(
    lock: NotedLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lock.acquire(patient=False, refuse=refuse)

    def unlink(self: Path, **_: bool) -> None:
        raise OSError(errno.EIO, "input/output error", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(OSError, match="input/output error"):
            lock.release(held)
    lock.release(lock.acquire(patient=False, refuse=refuse))


def test_patience_with_those_who_hold_it_for_moments_ends(lock: NotedLock, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lock.acquire(patient=False, refuse=refuse)
    lock.write_note(Owner(command="reembed", brief=True))
    now = [0.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(locks.time, "sleep", lambda _: now.__setitem__(0, now[0] + 1))
    with pytest.raises(AtlasLockedError):
        lock.acquire(patient=False, refuse=refuse)
    assert now[0] == locks.BRIEF_WAIT_S
    lock.release(held)


def test_one_who_is_patient_waits_for_anybody_and_says_so_once(
    lock: NotedLock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = lock.acquire(patient=False, refuse=refuse)
    lock.write_note(Owner(command="index"))
    now = [0.0]

    def sleep(_: float) -> None:
        now[0] += 1
        if now[0] == 5000:
            lock.release(held)

    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(locks.time, "sleep", sleep)
    lock.release(lock.acquire(patient=True, refuse=refuse))
    assert [record.message.partition(", ")[0] for record in caplog.records] == [
        f"{lock.path.parent}: waiting for `index`"
    ]


def test_the_note_of_a_process_that_died_tells_nothing(lock: NotedLock) -> None:
    import subprocess

    dead = subprocess.Popen(["true"])
    dead.wait()
    lock.write_note(Owner(command="index", pid=dead.pid))
    assert lock.owner() is None
    lock.write_note(Owner(command="index", pid=dead.pid, host="elsewhere"))
    assert str(lock.owner()).startswith(f"`index`, process {dead.pid} on elsewhere, for ")


@pytest.mark.parametrize("host", [Owner(command="x").host, "elsewhere"], ids=["number given again", "elsewhere"])
def test_a_note_that_a_kill_left_is_of_no_holder(lock: NotedLock, host: str) -> None:
    left = Owner(command="reembed", host=host)
    lock.write_note(left)
    assert lock.owner() == left
    assert lock.holder() is None
    held = lock.acquire(patient=False, refuse=refuse)
    lock.write_note(left)
    assert lock.holder() == left
    lock.release(held)
    assert lock.holder() is None


def test_looking_whether_it_is_held_refuses_nobody(lock: NotedLock) -> None:
    lock.write_note(Owner(command="reembed", host="elsewhere"))  # of one who was killed
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            lock.holder()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(20):
            lock.acquire(patient=False, refuse=refuse).release()
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"command": "x", "since": "x"}', '{"command": "x", "more": 1}'])
def test_a_note_that_is_none_tells_nothing(lock: NotedLock, text: str) -> None:
    lock.note.write_text(text)
    assert lock.owner() is None


def test_a_note_of_before_there_were_moments_is_read(lock: NotedLock) -> None:
    owner = Owner(command="index")
    lock.note.write_text(json.dumps({"pid": owner.pid, "host": owner.host, "since": owner.since, "command": "index"}))
    assert lock.owner() == owner


def test_threads_of_one_process_exclude_each_other(lock: NotedLock) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(5):
            held = lock.acquire(patient=True, refuse=refuse)
            lock.write_note(Owner(command="test", brief=True))
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1
            lock.release(held)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
