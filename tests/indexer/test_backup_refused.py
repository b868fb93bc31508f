"""Backups and restores that are refused in one line, before anything is written."""

import json
import shutil
from pathlib import Path

import pytest

from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.backup.restore import restore, states
from locatlas.indexer.backup.run import BackupSummary, backup
from locatlas.indexer.backup.states import BackupFolder
from tests.indexer.test_backup import atlas, put, rows, tree
from tests.query.made_atlas import make_atlas

__all__ = ["atlas"]


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
