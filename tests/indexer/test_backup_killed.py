"""Backups while others write, and backups that are killed: a whole state, and the same command goes on."""

import multiprocessing
import time
from pathlib import Path
from typing import Any

import lance
import pytest

from locatlas.errors import InputError
from locatlas.indexer.backup import copying
from locatlas.indexer.backup import files as files_module
from locatlas.indexer.backup.restore import check_backup, restore, states
from locatlas.indexer.backup.run import backup
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from tests.indexer.test_backup import atlas, put, rows, rows_of_state
from tests.query.made_atlas import row
from tests.quick import some

__all__ = ["atlas"]


class KilledError(BaseException):
    pass


def _write_on(atlas: str, begun: Any, stop: Any) -> None:
    n = 0
    store = Store.open(Path(atlas))
    with store.folder.writer("index"):
        while not stop.is_set():
            store.upsert("fovs", image_rows([row(f"d/w{n}")], "fov"))
            store.upsert("cells", image_rows([row(f"d/w{n}/1", fov_id=f"d/w{n}")], "cell"))
            begun.set()
            n += 1


def test_a_backup_made_while_a_writer_commits_equals_one_of_the_states_the_atlas_was_in(
    atlas: Path, tmp_path: Path
) -> None:
    """The writer puts a field, then its cell, again and again: no state has a cell of a field that is not there."""
    context = multiprocessing.get_context("spawn")
    begun, stop = context.Event(), context.Event()
    writer = context.Process(target=_write_on, args=(str(atlas), begun, stop))
    writer.start()
    try:
        assert begun.wait(120)
        made = [backup(atlas=atlas, to=tmp_path / "backup", keep=9) for _ in range(4)]
    finally:
        stop.set()
        writer.join(60)
    assert writer.exitcode == 0
    assert len({done.state for done in made}) > 1
    for record in states(tmp_path / "backup"):
        found = rows_of_state(tmp_path, record.name)
        for table, backed in record.tables.items():
            then = lance.dataset(str(atlas / "db" / f"{table}.lance"), version=backed.version)
            assert then.to_table().sort_by("id").to_pylist() == found[table]
        fields = {r["id"] for r in found["fovs"] if r["id"].startswith("d/w")}
        cells = {r["fov_id"] for r in found["cells"] if r["fov_id"].startswith("d/w")}
        assert cells <= fields
        assert len(fields) - len(cells) in {0, 1}


@pytest.mark.parametrize(
    "at", some(["a copy", "the rename of a copy", "earlier", "the record", "the deletion"], 0, 3, 4)
)
def test_a_killed_backup_leaves_the_state_before_and_goes_on_where_it_stood(
    at: str, atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, held = backup(atlas=atlas, to=tmp_path / "backup"), rows(atlas)
    for n in range(3):
        put(atlas, f"d/new{n}")
    with monkeypatch.context() as patch:
        _kill_at(at, patch)
        with pytest.raises(KilledError):
            backup(atlas=atlas, to=tmp_path / "backup")
    assert check_backup(tmp_path / "backup").files > 0
    newest = states(tmp_path / "backup")[0]
    assert (newest.name == first.state) == (at != "the deletion")
    assert rows_of_state(tmp_path, first.state) == held
    there = {p.name for p in tmp_path.glob("backup/files/*/*")}
    done = backup(atlas=atlas, to=tmp_path / "backup")
    assert rows_of_state(tmp_path, done.state) == rows(atlas)
    assert len(done.states) == 2
    left = [p.name for p in (tmp_path / "backup").rglob("*") if p.name.endswith(".tmp") or p.name == "copied.jsonl"]
    assert not left
    if at != "the deletion":
        assert done.copied_files == len({file.digest for file in states(tmp_path / "backup")[0].files} - there)


def _kill_at(at: str, patch: pytest.MonkeyPatch) -> None:
    """Let the process die, so to say: nothing after this is done."""
    if at == "a copy":
        real, calls = files_module.copy_hashed, iter([True, True, True])
        patch.setattr(files_module, "copy_hashed", lambda s, p: real(s, p) if next(calls, False) else _die())
    elif at == "the rename of a copy":
        patch.setattr(files_module, "sync_folder", lambda _: _die())
    elif at == "the deletion":
        patch.setattr(files_module.HeldFiles, "remove_others", lambda *_: _die())
    else:
        from locatlas.indexer.backup import states as states_module

        last = "backup.json" if at == "the record" else "Z.json"
        real_write = states_module.write_atomically
        patch.setattr(
            states_module, "write_atomically", lambda p, d: _die() if p.name.endswith(last) else real_write(p, d)
        )


def _die() -> Any:
    raise KilledError


def _back_up_and_hang(atlas: str, to: str, copied: Any) -> None:
    real, calls = files_module.copy_hashed, iter([True, True])

    def hang(source: Any, path: Path) -> Any:
        if next(calls, False):
            return real(source, path)
        path.write_bytes(b"half of a file")
        copied.set()
        time.sleep(600)

    files_module.copy_hashed = hang
    backup(atlas=atlas, to=to)


def test_a_process_that_is_killed_leaves_the_state_before(atlas: Path, tmp_path: Path) -> None:
    first, held = backup(atlas=atlas, to=tmp_path / "backup"), rows(atlas)
    put(atlas, "d/new")
    context = multiprocessing.get_context("spawn")
    copied = context.Event()
    process = context.Process(target=_back_up_and_hang, args=(str(atlas), str(tmp_path / "backup"), copied))
    process.start()
    assert copied.wait(120)
    process.kill()
    process.join(60)
    assert list((tmp_path / "backup" / "files").glob(".*.tmp"))
    assert rows_of_state(tmp_path, states(tmp_path / "backup")[0].name) == held
    done = backup(atlas=atlas, to=tmp_path / "backup")
    assert done.states == [done.state, first.state]
    assert rows_of_state(tmp_path, done.state) == rows(atlas)
    assert not list((tmp_path / "backup").rglob("*.tmp"))


def test_a_first_run_that_was_killed_is_no_backup_yet_and_goes_on(
    atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _kill_at("a copy", patch)
        with pytest.raises(KilledError):
            backup(atlas=atlas, to=tmp_path / "backup")
    with pytest.raises(InputError, match="its first run was stopped; run the same `locatlas backup` again"):
        restore(tmp_path / "backup", to=tmp_path / "again")
    done = backup(atlas=atlas, to=tmp_path / "backup")
    assert done.copied_files < done.files
    restore(tmp_path / "backup", to=tmp_path / "again")
    assert rows(tmp_path / "again") == rows(atlas)


def test_a_state_that_is_cleaned_up_while_it_is_copied_gives_way_to_a_newer_one(
    atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between pin and copy the table is written anew and its old versions are deleted."""
    real, times = copying.pin, iter([True])

    def pinned(folder: Any, *, with_indices: bool) -> Any:
        state = real(folder, with_indices=with_indices)
        if next(times, False):
            lance.write_dataset(
                lance.dataset(str(folder.db / "fovs.lance")).to_table(), str(folder.db / "fovs.lance"), mode="overwrite"
            )
            import datetime as dt

            lance.dataset(str(folder.db / "fovs.lance")).cleanup_old_versions(dt.timedelta(0), delete_unverified=True)
        return state

    monkeypatch.setattr(copying, "pin", pinned)
    done = backup(atlas=atlas, to=tmp_path / "backup")
    assert rows_of_state(tmp_path, done.state) == rows(atlas)


def test_a_disk_that_fills_up_meanwhile_leaves_the_state_before_and_the_same_command_goes_on(
    atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backup(atlas=atlas, to=tmp_path / "backup")
    put(atlas, "d/new")
    with monkeypatch.context() as patch:
        patch.setattr(files_module.os, "fsync", _full)
        with pytest.raises(InputError, match=r"backup/files/.*No space left on device; the same command goes on later"):
            backup(atlas=atlas, to=tmp_path / "backup")
        with pytest.raises(InputError, match="No space left on device; nothing was restored"):
            restore(tmp_path / "backup", to=tmp_path / "again")
    assert states(tmp_path / "backup")[0].name == first.state
    assert not list(tmp_path.rglob("*.tmp"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["atlas", "backup"]
    done = backup(atlas=atlas, to=tmp_path / "backup")
    assert rows_of_state(tmp_path, done.state) == rows(atlas)


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")
