"""Backups: consistent while the atlas is in use, incremental, checked by digest, whole or as before after a kill."""

import json
import multiprocessing
import shutil
import time
from pathlib import Path
from typing import Any

import lance
import pytest

from locatlas.errors import AtlasLockedError, InputError, StoreDamagedError, UnknownNameError
from locatlas.indexer.backup import copying
from locatlas.indexer.backup import files as files_module
from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.backup.restore import check_backup, restore, states
from locatlas.indexer.backup.run import BackupSummary, backup
from locatlas.indexer.backup.states import BackupFolder
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from tests.query.made_atlas import make_atlas, row


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    return make_atlas(tmp_path / "atlas")


def rows(atlas: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    store = Store.open(atlas)
    return {table: store.read(table).to_pylist() for table in store.tables()}


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def put(atlas: Path, image_id: str) -> None:
    store = Store.open(atlas)
    with store.folder.writer("test"):
        store.upsert("fovs", image_rows([row(image_id)], "fov"))


def delete(atlas: Path, image_id: str) -> None:
    store = Store.open(atlas)
    with store.folder.writer("test"):
        store.delete("fovs", [image_id])


def test_a_restored_atlas_equals_the_original_row_by_row_and_both_can_be_written(atlas: Path, tmp_path: Path) -> None:
    delete(atlas, "d/00")  # a file of deletions goes along
    done = backup(atlas=atlas, to=tmp_path / "backup")
    assert done.new
    assert done.tables == {table: len(found) for table, found in rows(atlas).items()}
    restored = restore(tmp_path / "backup", to=tmp_path / "again")
    assert (restored.tables, restored.files) == (done.tables, done.files)
    assert rows(tmp_path / "again") == rows(atlas)
    assert {t: Store.open(tmp_path / "again").version(t) for t in done.tables} == {
        t: Store.open(atlas).version(t) for t in done.tables
    }
    for path in (atlas, tmp_path / "again"):
        put(path, "d/new")
        delete(path, "d/01")
    assert rows(tmp_path / "again") == rows(atlas)


def test_nothing_of_the_atlas_is_written_and_no_file_is_shared_with_it(atlas: Path, tmp_path: Path) -> None:
    before = tree(atlas)
    backup(atlas=atlas, to=tmp_path / "backup")
    assert tree(atlas) == before
    assert all(p.stat().st_nlink == 1 for p in [*atlas.rglob("*"), *tmp_path.rglob("backup/files/*/*")] if p.is_file())


def test_a_second_run_with_nothing_new_copies_nothing_and_says_so(atlas: Path, tmp_path: Path) -> None:
    first = backup(atlas=atlas, to=tmp_path / "backup")
    before = tree(tmp_path / "backup")
    again = backup(atlas=atlas, to=tmp_path / "backup")
    assert (again.new, again.copied_files, again.copied_bytes) == (False, 0, 0)
    assert (again.state, again.states) == (first.state, [first.state])
    assert tree(tmp_path / "backup") == before


def test_after_a_commit_only_what_it_added_is_copied(atlas: Path, tmp_path: Path) -> None:
    backup(atlas=atlas, to=tmp_path / "backup")
    before = tree(atlas)
    put(atlas, "d/new")
    changed = {name for name, data in tree(atlas).items() if before.get(name) != data and "hint" not in name}
    done = backup(atlas=atlas, to=tmp_path / "backup")
    assert done.copied_files == len(changed)
    assert rows_of_state(tmp_path, done.state) == rows(atlas)


def rows_of_state(tmp_path: Path, state: str) -> dict[str, list[dict[str, Any]]]:
    restore(tmp_path / "backup", to=tmp_path / f"of-{state}", state=state)
    return rows(tmp_path / f"of-{state}")


def test_earlier_states_can_be_restored_and_those_beyond_the_kept_ones_take_no_space(
    atlas: Path, tmp_path: Path
) -> None:
    held, names = [], []
    for n in range(4):
        put(atlas, f"d/new{n}")
        if n == 2:
            Store.open(atlas).compact("fovs")
        held.append(rows(atlas))
        names.append(backup(atlas=atlas, to=tmp_path / "backup", keep=2).state)
    assert [record.name for record in states(tmp_path / "backup")] == [names[3], names[2], names[1]]
    for n in (1, 2, 3):
        assert rows_of_state(tmp_path, names[n]) == held[n]
    with pytest.raises(UnknownNameError, match=names[0]):
        restore(tmp_path / "backup", to=tmp_path / "x", state=names[0])
    needed = {file.digest for record in states(tmp_path / "backup") for file in record.files}
    assert {p.name for p in (tmp_path / "backup" / "files").glob("*/*")} == needed


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


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("at", ["a copy", "the rename of a copy", "earlier", "the record", "the deletion"])
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


def test_every_flipped_bit_of_a_backup_is_found_and_nothing_is_restored(atlas: Path, tmp_path: Path) -> None:
    backup(atlas=atlas, to=tmp_path / "backup")
    for path in sorted((tmp_path / "backup").glob("files/*/*")):
        whole = path.read_bytes()
        at = len(whole) // 2
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(StoreDamagedError, match=f"{path.name}: .* missing or not what was copied"):
            restore(tmp_path / "backup", to=tmp_path / "again")
        with pytest.raises(StoreDamagedError, match="it has no other state"):
            check_backup(tmp_path / "backup")
        assert path.with_name(f"{path.name}.bad").is_file()  # out of the way of the next backup
        assert not path.exists()
        with pytest.raises(StoreDamagedError, match="missing or not what was copied"):
            check_backup(tmp_path / "backup")
        path.write_bytes(whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["atlas", "backup"]
    record = tmp_path / "backup" / "backup.json"
    text = record.read_text()
    record.write_text(text.replace('"rows": 72', '"rows": 71'))
    with pytest.raises(InputError, match=r"backup\.json: does not match its own digest"):
        restore(tmp_path / "backup", to=tmp_path / "again")
    record.write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"backup\.json: "):
        states(tmp_path / "backup")


def test_an_atlas_with_a_missing_or_cut_file_is_not_backed_up_and_the_state_before_stays(
    atlas: Path, tmp_path: Path
) -> None:
    first, held = backup(atlas=atlas, to=tmp_path / "backup"), rows(atlas)
    put(atlas, "d/new")
    path = next((atlas / "db" / "cells.lance" / "data").iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(StoreDamagedError, match=rf"{path.name}: {len(whole) - 1} bytes instead of {len(whole)}"):
        backup(atlas=atlas, to=tmp_path / "backup")
    path.unlink()
    message = (
        f"{path.name}: missing, though table cells needs it: the atlas is damaged .*; the state of {first.at[:10]}"
    )
    with pytest.raises(StoreDamagedError, match=message) as caught:
        backup(atlas=atlas, to=tmp_path / "backup")
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreDamagedError, match="nothing was recorded"):
        backup(atlas=atlas, to=tmp_path / "another")
    assert [r.name for r in states(tmp_path / "backup")] == [first.state]
    restore(tmp_path / "backup", to=tmp_path / "aside", table="cells")
    assert sorted(p.name for p in (tmp_path / "aside").iterdir()) == ["cells.lance"]
    found = lance.dataset(str(tmp_path / "aside" / "cells.lance")).to_table().sort_by("id").to_pylist()
    assert found == held["cells"]


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


def test_derived_files_locks_and_temporary_ones_stay_out_and_all_others_go_along(atlas: Path, tmp_path: Path) -> None:
    for name in ("indices/a.faiss", "cache/v.npy", ".lock-owner", ".reembedding/lock", "db/.dropped-x/data/y.lance",
                 "journal/.files.jsonl.1.tmp"):  # fmt: skip
        (atlas / name).parent.mkdir(parents=True, exist_ok=True)
        (atlas / name).write_bytes(b"left out")
    (atlas / "journal" / "files.jsonl").write_bytes(b"{}\n")
    (atlas / "notes" / "of").mkdir(parents=True)
    (atlas / "notes" / "of" / "mine.txt").write_text("kept")
    backup(atlas=atlas, to=tmp_path / "backup")
    restore(tmp_path / "backup", to=tmp_path / "again")
    found = {name: data for name, data in tree(tmp_path / "again").items() if not name.startswith(("db/", "digests/"))}
    assert found == {name: (atlas / name).read_bytes() for name in found}
    assert set(found) == {"atlas.json", "journal/files.jsonl", "notes/of/mine.txt"}
    done = backup(atlas=atlas, to=tmp_path / "backup", with_indices=True)
    assert (done.new, done.copied_files) == (True, 1)
    restore(tmp_path / "backup", to=tmp_path / "indexed")
    assert (tmp_path / "indexed" / "indices" / "a.faiss").read_bytes() == b"left out"


def test_targets_that_cannot_be_are_refused_in_one_line(atlas: Path, tmp_path: Path) -> None:
    other = make_atlas(tmp_path / "other", levels=("fov",))
    backup(atlas=other, to=tmp_path / "of other")
    (tmp_path / "file").write_text("")
    for to, why in (
        (atlas / "backup", "lies in the atlas that is to be copied"),
        (atlas, "lies in the atlas"),
        (tmp_path / "file", "is a file; a backup is a folder"),
        (tmp_path, "no backup, and not empty"),
        (other, "no backup, and not empty"),
        (tmp_path / "of other", f"holds the backup of another atlas, {other}; name another folder"),
        (tmp_path / "file" / "below", "cannot be written"),
    ):
        before = tree(tmp_path)
        with pytest.raises(InputError, match=why) as caught:
            backup(atlas=atlas, to=to)
        assert "\n" not in str(caught.value)
        assert {k: v for k, v in tree(tmp_path).items() if not k.endswith("/.lock")} == {
            k: v for k, v in before.items() if not k.endswith("/.lock")
        }
    with pytest.raises(InputError, match="not an atlas"):
        backup(atlas=tmp_path / "nowhere", to=tmp_path / "backup")


def test_an_atlas_that_was_moved_goes_on_with_its_backup(atlas: Path, tmp_path: Path) -> None:
    backup(atlas=atlas, to=tmp_path / "backup")
    atlas.rename(tmp_path / "renamed")
    assert not backup(atlas=tmp_path / "renamed", to=tmp_path / "backup").new


def test_what_is_there_is_not_written_over(atlas: Path, tmp_path: Path) -> None:
    backup(atlas=atlas, to=tmp_path / "backup")
    before = tree(atlas)
    with pytest.raises(InputError, match="is there already, and not empty; nothing is written over"):
        restore(tmp_path / "backup", to=atlas)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        restore(tmp_path / "backup", to=tmp_path / "file")
    assert tree(atlas) == before
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "backup", to=tmp_path / "empty")
    assert rows(tmp_path / "empty") == rows(atlas)


def test_a_disk_without_room_is_told_before_anything_is_copied(
    atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(atlas=atlas, to=tmp_path / "backup")
    put(atlas, "d/new")
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    for call in (
        lambda: backup(atlas=atlas, to=tmp_path / "backup"),
        lambda: restore(tmp_path / "backup", to=tmp_path / "again"),
    ):
        with pytest.raises(InputError, match=r"MB are to be written and 1\.0 MB are free; nothing was"):
            call()
    assert not (tmp_path / "again").exists()


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


def test_two_backups_to_one_folder_do_not_meet(atlas: Path, tmp_path: Path) -> None:
    with BackupFolder(tmp_path / "backup").writing(), pytest.raises(AtlasLockedError, match="written to it now"):
        backup(atlas=atlas, to=tmp_path / "backup")
    done: BackupSummary = backup(atlas=atlas, to=tmp_path / "backup")
    assert done.new


@pytest.mark.parametrize("path", ["../x", "/etc/x", "db/../../x", "a\\b", "db//x", "./x", "a\0b"])
def test_a_record_with_a_path_that_leads_out_is_refused(path: str, atlas: Path, tmp_path: Path) -> None:
    backup(atlas=atlas, to=tmp_path / "backup")
    record = states(tmp_path / "backup")[0]
    own = {
        name: getattr(record, name) for name in ("at", "locatlas", "atlas", "schema_version", "with_indices", "tables")
    }
    file = BackedFile(path, record.files[0].size, record.files[0].digest)
    forged = BackupRecord(**own, files=(*record.files, file)).to_json()
    (tmp_path / "backup" / "backup.json").write_text(forged)
    with pytest.raises(InputError, match="is none of a file in an atlas"):
        restore(tmp_path / "backup", to=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_backup_of_a_newer_locatlas_is_refused(atlas: Path, tmp_path: Path) -> None:
    backup(atlas=atlas, to=tmp_path / "backup")
    path = tmp_path / "backup" / "backup.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "backup_version": 2}))
    with pytest.raises(InputError, match="backup of version 2, this locatlas reads 1"):
        restore(tmp_path / "backup", to=tmp_path / "again")
