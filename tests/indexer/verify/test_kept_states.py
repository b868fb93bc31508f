"""What was kept before an upgrade is verified like the rest of an atlas, and given up by a repair."""

import shutil
from pathlib import Path

import pytest

from locatlas.indexer.backup.restore import restore
from locatlas.indexer.backup.run import backup
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.kept_states import look_at_kept_states
from locatlas.indexer.verify.run import verify
from tests.indexer.old_atlases import SCHEMAS_1, make_old
from tests.indexer.verify.whole import copied, flip, kinds


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of schema version 1 that was upgraded and has digests. Not to be changed."""
    path = make_old(tmp_path_factory.mktemp("old") / "atlas", 1).path
    store = Store.open(path)
    with store.folder.writer("test"):
        store.take_late_digests()
    return path


@pytest.fixture
def atlas(upgraded: Path, tmp_path: Path) -> Path:
    return copied(upgraded, tmp_path / "atlas")


def kept_files(atlas: Path) -> list[Path]:
    return sorted(p for p in (atlas / "before-upgrade").rglob("*") if p.is_file() and p.stat().st_size)


def test_every_byte_of_what_was_kept_is_looked_at(atlas: Path) -> None:
    files = kept_files(atlas)
    assert len(files) == 5  # atlas.json, three manifests, the record
    assert not kinds(verify(atlas=atlas))
    for path in files:
        whole = path.read_bytes()
        for position in {0, len(whole) // 2, len(whole) - 1}:
            flip(path, position, 1)
            report = verify(atlas=atlas, quick=True)
            assert kinds(report) == ["kept state damaged"], (path, position)
            assert report.damage[0].where == "before-upgrade/schema-1"
            assert "--repair gives it up" in report.damage[0].do
            path.write_bytes(whole)
        path.write_bytes(whole[:-1])
        assert kinds(verify(atlas=atlas, quick=True)) == ["kept state damaged"]
        path.unlink()
        lost = verify(atlas=atlas, quick=True)
        if path.name == "backup.json":  # as a kill leaves it
            assert (kinds(lost), "kept state unfinished" in kinds(lost, "warning")) == ([], True)
        else:
            assert kinds(lost) == ["kept state damaged"]
        path.write_bytes(whole)
    assert not kinds(verify(atlas=atlas))


@pytest.mark.parametrize("name", ["backup.json", "files"])
def test_a_repair_sets_a_damaged_kept_state_aside_and_touches_nothing_else(name: str, atlas: Path) -> None:
    files = kept_files(atlas)
    path = next(p for p in files if name in p.parts)
    flip(path, 20, 1)
    data = {p: p.read_bytes() for p in (atlas / "db").rglob("*") if p.is_file()}
    report = verify(atlas=atlas, repair=True)
    assert report.damage == []
    assert not [kind for kind in kinds(report, "warning") if kind.startswith("kept state")]
    assert [line for line in report.repaired if line.startswith("before-upgrade/schema-1: 5 ")]
    assert kept_files(atlas) == []
    aside = next((atlas / "damaged").iterdir())
    assert sorted(p.relative_to(aside) for p in aside.rglob("*") if p.is_file()) == [
        p.relative_to(atlas) for p in files
    ]
    assert {p: p.read_bytes() for p in (atlas / "db").rglob("*") if p.is_file()} == data
    assert verify(atlas=atlas, repair=True).repaired == []


def test_an_error_of_the_disk_is_told_and_nothing_is_given_up(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from locatlas.indexer.backup import check

    real = check.open_regular

    def fail(path: Path) -> object:
        if "before-upgrade" in path.parts:
            raise OSError(116, "Stale file handle", str(path))
        return real(path)

    monkeypatch.setattr(check, "open_regular", fail)
    files = kept_files(atlas)
    report = verify(atlas=atlas, repair=True)
    assert (kinds(report), kept_files(atlas)) == (["kept state unreadable"], files)
    assert "Stale file handle" in report.damage[0].means


def test_data_files_that_a_kept_state_needs_and_a_copy_of_the_atlas_lacks_are_no_damage(
    atlas: Path, tmp_path: Path
) -> None:
    """A backup has the newest version of each table only."""
    store = Store.open(atlas)
    with store.folder.writer("test"):
        for table in SCHEMAS_1:
            store.upsert(table, store.read(table))
        for table in SCHEMAS_1:
            store.compact(table)
    assert not kinds(verify(atlas=atlas))
    backup(atlas=atlas, to=tmp_path / "backup")
    restore(tmp_path / "backup", to=tmp_path / "again")
    report = verify(atlas=tmp_path / "again")
    assert (kinds(report), "kept state incomplete" in kinds(report, "warning")) == ([], True)
    found = next(f for f in report.findings if f.kind == "kept state incomplete")
    assert "delete the folder before-upgrade/schema-1" in found.do
    assert all(example.startswith("db/") for example in found.examples)
    shutil.rmtree(tmp_path / "again" / "before-upgrade" / "schema-1")
    assert "kept state incomplete" not in kinds(verify(atlas=tmp_path / "again"), "warning")


def test_while_another_writes_damage_is_found_and_a_record_that_is_not_there_yet_is_none(atlas: Path) -> None:
    folder, record = AtlasFolder.open(atlas), atlas / "before-upgrade" / "schema-1" / "backup.json"
    flip(record, 20, 1)
    assert [f.kind for f in look_at_kept_states(folder, busy=True)] == ["kept state damaged", "unknown files"]
    record.unlink()
    assert look_at_kept_states(folder, busy=True) == []
    assert [f.kind for f in look_at_kept_states(folder)] == ["kept state unfinished", "unknown files"]
