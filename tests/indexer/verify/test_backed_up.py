"""Digests that are taken when files are written are compared when they are copied, and hold in what is restored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.backup.record import BackedFile, BackupRecord, in_order
from locatlas.indexer.backup.restore import check_backup, restore, states
from locatlas.indexer.backup.run import backup
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def problems(atlas: Path) -> list[str]:
    report = verify(atlas=atlas)
    return [f"{f.severity}: {f.kind} {f.where} {f.examples}" for f in report.findings if f.severity != "note"]


@pytest.mark.parametrize("with_indices", [False, True])
def test_a_restored_atlas_is_whole_and_every_file_of_it_has_its_digest(
    with_indices: bool, whole: Path, tmp_path: Path
) -> None:
    assert problems(whole) == []
    done = backup(atlas=whole, to=tmp_path / "backup", with_indices=with_indices)
    restore(tmp_path / "backup", to=tmp_path / "again")
    assert problems(tmp_path / "again") == []
    store = Store.open(tmp_path / "again")
    with store.folder.writer("test"):
        store.delete("annotations", store.read("annotations", ["id"])["id"].to_pylist())
    assert problems(tmp_path / "again") == []
    flip(next(iter((tmp_path / "again" / "db" / "fovs.lance" / "data").iterdir())))
    assert any("file changed" in problem for problem in problems(tmp_path / "again"))
    assert states(tmp_path / "backup")[0].name == done.state


def test_a_flipped_bit_of_an_atlas_never_gets_into_a_backup(whole: Path, tmp_path: Path) -> None:
    backup(atlas=whole, to=tmp_path / "good")
    files = [f.path for f in states(tmp_path / "good")[0].files if f.path.startswith("db/")]
    assert {path.split("/")[2] for path in files} >= {"data", "_versions", "_deletions"}
    for n, path in enumerate(files):
        before = (whole / path).read_bytes()
        flip(whole / path)
        for _ in range(2):  # nor with the second try
            with pytest.raises(StoreDamagedError):
                backup(atlas=whole, to=tmp_path / f"new{n}")
        if "/_versions/" not in path:  # known by name: the copy of before stays
            backup(atlas=whole, to=tmp_path / "good")
        (whole / path).write_bytes(before)
    for name in ("new", f"new{n}"):
        backup(atlas=whole, to=tmp_path / name)
    for name in ("good", "new", f"new{n}"):
        restore(tmp_path / name, to=tmp_path / f"of {name}")
        assert problems(tmp_path / f"of {name}") == []


def _without(line: int) -> Callable[[Path], None]:
    def cut(journal: Path) -> None:
        journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:line]))

    return cut


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("files.jsonl", flip, "is not what was written"),
        ("files.jsonl", _without(-1), "lines are missing at its end"),
        ("files.jsonl", Path.unlink, "is missing"),
        ("head.json", Path.unlink, "is missing or damaged"),
    ],
)
def test_an_atlas_whose_digests_are_damaged_is_not_backed_up_before_it_is_repaired(
    name: str, damage: Callable[[Path], None], said: str, whole: Path, tmp_path: Path
) -> None:
    damage(whole / "digests" / name)
    with pytest.raises(StoreDamagedError, match=f"{name}: .*{said}.*verify --atlas .* --repair") as caught:
        backup(atlas=whole, to=tmp_path / "backup")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "backup" / "backup.json").exists()
    verify(atlas=whole, repair=True)
    assert backup(atlas=whole, to=tmp_path / "backup").new


def test_digests_are_read_with_the_versions_they_are_of_whatever_their_size(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locatlas.indexer.backup.pin.SMALL_BYTES", 2000)
    assert (whole / "digests" / "files.jsonl").stat().st_size > 2000
    for path in (whole / "db" / "fovs.lance" / "data").iterdir():
        flip(path)
    with pytest.raises(StoreDamagedError, match="other bytes than were written"):
        backup(atlas=whole, to=tmp_path / "backup")


@pytest.mark.parametrize("below", ["Downloads", "before-upgrade"])
def test_a_forged_record_takes_no_file_from_beside_the_backup(below: str, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    at = tmp_path / below / "backup"
    backup(atlas=whole, to=at)
    record = BackupRecord.from_json((at / "backup.json").read_text(), where="here")
    forged = replace(record, files=in_order([*record.files, BackedFile("secret", 6, "")]))
    (at / "backup.json").write_text(forged.to_json())
    with pytest.raises(InputError, match="secret has no digest in its record"):
        restore(at, to=tmp_path / "again")
    with pytest.raises(InputError, match="secret has no digest in its record"):
        check_backup(at)
    assert not (tmp_path / "again").exists()
