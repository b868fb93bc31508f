"""Backups that are damaged themselves: healed from the atlas, used as far as they are whole, never trusted blindly."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from locatlas.cli import group
from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.backup import copying
from locatlas.indexer.backup import restore as restore_module
from locatlas.indexer.backup import states as states_module
from locatlas.indexer.backup.record import BackedFile, BackedTable, BackupRecord
from locatlas.indexer.backup.restore import check_backup, restore, states
from locatlas.indexer.backup.run import backup
from locatlas.indexer.backup.states import BackupFolder
from tests.indexer.test_backup import put, rows
from tests.indexer.test_backup_killed import KilledError
from tests.indexer.verify.whole import flip
from tests.query.made_atlas import make_atlas


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    return make_atlas(tmp_path / "atlas")


def damage(path: Path) -> None:
    flip(path, path.stat().st_size // 2, 2)


def blob(folder: Path, file: BackedFile) -> Path:
    return folder / "files" / file.digest[:2] / file.digest


def data_of(record: BackupRecord) -> BackedFile:
    return next(file for file in record.files if "/data/" in file.path)


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("files/*/*")}


def test_bytes_that_changed_in_a_backup_are_copied_again_after_a_check(atlas: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    first = backup(atlas=atlas, to=to)
    put(atlas, "d/new")
    second = backup(atlas=atlas, to=to)
    path = blob(to, data_of(states(to)[0]))
    damage(path)
    with pytest.raises(StoreDamagedError, match=r"no other state without it; .* --check` finds all that is bad"):
        restore(to, to=tmp_path / "again")
    again = rf"no other state without it; `locatlas backup --atlas {atlas} --to {to}` copies again"
    with pytest.raises(StoreDamagedError, match=again) as caught:
        check_backup(to)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreDamagedError, match=again):  # it stays said
        check_backup(to, state=first.state)
    done = CliRunner().invoke(group, ["backup", "--atlas", str(atlas), "--to", str(to)])
    assert (done.exit_code, "; 1 files that it had lost were copied again" in done.output) == (0, True)
    for name in (first.state, second.state):
        check_backup(to, state=name)
    assert not [name for name in held(to) if name.endswith(".bad")]
    restore(to, to=tmp_path / "again")
    assert rows(tmp_path / "again") == rows(atlas)


def test_small_files_that_changed_in_a_backup_are_replaced_by_each_run(atlas: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    backup(atlas=atlas, to=to)
    for file in states(to)[0].files:
        if file.path == "atlas.json" or "/_versions/" in file.path:
            damage(blob(to, file))
    backup(atlas=atlas, to=to)
    check_backup(to)


def test_what_the_atlas_has_no_more_is_named_with_the_states_that_do_without_and_kept_aside(
    atlas: Path, tmp_path: Path
) -> None:
    to = tmp_path / "backup"
    first = backup(atlas=atlas, to=to)
    manifest = next(file for file in states(to)[0].files if file.path.startswith("db/fovs.lance/_versions/"))
    put(atlas, "d/new")
    second = backup(atlas=atlas, to=to)
    damage(blob(to, manifest))
    with pytest.raises(StoreDamagedError, match=f"try another state with --state: {second.state};"):
        check_backup(to, state=first.state)
    backup(atlas=atlas, to=to)
    assert f"{manifest.digest}.bad" in held(to)
    backup(atlas=atlas, to=to, keep=0)
    assert f"{manifest.digest}.bad" not in held(to)


def test_nothing_is_set_aside_while_another_writes_to_the_backup(atlas: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    backup(atlas=atlas, to=to)
    path = blob(to, data_of(states(to)[0]))
    damage(path)
    with BackupFolder(to).writing(), pytest.raises(StoreDamagedError, match=r"could not be set aside .*written to it"):
        check_backup(to)
    assert path.exists()


def test_an_earlier_record_that_cannot_be_read_stops_nothing_and_nothing_is_deleted_until_it_is(
    atlas: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    to, made = tmp_path / "backup", []
    for n in range(3):
        put(atlas, f"d/new{n}")
        made.append(backup(atlas=atlas, to=to).state)
    record = to / "earlier" / f"{made[0]}.json"
    damage(record)
    before = held(to)
    assert [one.name for one in states(to)] == [made[2], made[1]]
    check_backup(to)
    put(atlas, "d/more")
    caplog.clear()
    done = backup(atlas=atlas, to=to, keep=0)
    assert (done.new, done.freed_bytes, done.states) == (True, 0, [done.state, made[2], made[1]])
    assert held(to) > before
    assert [str(record) in line and "nothing is deleted" in line for line in caplog.messages] == [True]
    damage(blob(to, data_of(states(to)[0])))
    with pytest.raises(StoreDamagedError, match="missing or not what was copied"):  # what is damaged, not the record
        check_backup(to)
    record.unlink()
    assert backup(atlas=atlas, to=to, keep=0).states == [done.state]
    assert held(to) == {file.digest for file in states(to)[0].files}


@pytest.mark.parametrize("killed", [False, True])
def test_a_newest_record_that_cannot_be_read_leaves_the_earlier_states_and_the_next_backup(
    killed: bool,
    atlas: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to = tmp_path / "backup"
    first, of_first = backup(atlas=atlas, to=to), rows(atlas)
    put(atlas, "d/new")
    second = backup(atlas=atlas, to=to)
    damage(to / "backup.json")
    for use in (lambda: restore(to, to=tmp_path / "again"), lambda: check_backup(to)):
        with pytest.raises(InputError, match=rf"backup\.json: .*--state: {first.state}$"):
            use()
    assert [one.name for one in states(to)] == [first.state]
    if killed:

        def die(*_: object) -> None:
            raise KilledError

        with monkeypatch.context() as patch:
            patch.setattr(states_module, "write_atomically", die)
            with pytest.raises(KilledError):
                backup(atlas=atlas, to=to)
        with pytest.raises(InputError, match=rf"no backup\.json in it\); .*--state: {first.state}$"):
            restore(to, to=tmp_path / "again")
    done = backup(atlas=atlas, to=to)
    assert (done.new, done.states) == (True, [done.state, first.state])
    assert done.state != second.state
    aside = next((to / "earlier").glob("*-unreadable.json"))
    assert any(str(aside) in line for line in caplog.messages)
    assert not backup(atlas=atlas, to=to).new
    restore(to, to=tmp_path / "again")
    assert rows(tmp_path / "again") == rows(atlas)
    restore(to, to=tmp_path / "first", state=first.state)
    assert rows(tmp_path / "first") == of_first


def test_where_the_only_record_cannot_be_read_the_next_backup_makes_one(atlas: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    first = backup(atlas=atlas, to=to)
    damage(to / "backup.json")
    with pytest.raises(InputError, match="it has no other state"):
        states(to)
    done = backup(atlas=atlas, to=to)
    assert (done.new, done.states, first.state != done.state) == (True, [done.state], True)
    assert check_backup(to).files == done.files


def test_no_more_is_copied_than_was_recorded_and_no_link_pipe_or_device_is_read(
    atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "backup"
    backup(atlas=atlas, to=to)
    file = data_of(states(to)[0])
    path = blob(to, file)
    whole = path.read_bytes()
    (tmp_path / "elsewhere").write_bytes(whole)
    real, copied = restore_module.copy_hashed, []

    def spy(source: object, target: Path, **kwargs: int) -> tuple[int, str]:
        found = real(source, target, **kwargs)
        copied.append(found[0])
        return found

    monkeypatch.setattr(restore_module, "copy_hashed", spy)
    for how, why in (
        (lambda: path.write_bytes(whole + bytes(1_000_000)), "not what was copied"),
        (lambda: path.symlink_to(tmp_path / "elsewhere"), "is a link"),
        (lambda: path.symlink_to("/dev/zero"), "is a link"),
        (lambda: os.mkfifo(path), "is no regular file"),
    ):
        path.unlink(missing_ok=True)
        how()
        for use in (lambda: restore(to, to=tmp_path / "again"), lambda: check_backup(to)):
            with pytest.raises(StoreDamagedError, match=why):
                use()
    assert max(copied) < 1_000_000
    assert not (tmp_path / "again").exists()
    backup(atlas=atlas, to=to)
    check_backup(to)
    assert not path.is_symlink()


def test_a_record_whose_time_or_tables_cannot_be_is_refused_before_anything_appears(
    atlas: Path, tmp_path: Path
) -> None:
    to = tmp_path / "backup"
    backup(atlas=atlas, to=to)
    record = states(to)[0]
    for forged in (
        replace(record, at="soon"),
        replace(record, at="2026-11-29T10:00:00"),
        replace(record, at=7),
        replace(record, tables={"../fovs": BackedTable(1, 1)}),
        replace(record, tables={"fovs": BackedTable("1", 1)}),
    ):
        (to / "backup.json").write_text(forged.to_json())
        with pytest.raises(InputError, match=r"backup\.json: "):
            restore(to, to=tmp_path / "again")
        assert not (tmp_path / "again").exists()


def test_states_are_kept_in_the_order_in_which_they_were_taken_whatever_the_clock_says(
    atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for n, year in enumerate((2026, 2030, 2019, 2018)):
        monkeypatch.setattr(copying, "now", lambda year=year: f"{year}-01-01T00:00:00.000000+00:00")
        put(atlas, f"d/new{n}")
        made.append(backup(atlas=atlas, to=tmp_path / "backup", keep=2).state)
    assert [record.name for record in states(tmp_path / "backup")] == [made[3], made[2], made[1]]
