"""Digests that are taken when files are written are compared when they are copied, and hold in what is restored."""

from pathlib import Path

import pytest

from locatlas.errors import StoreDamagedError
from locatlas.indexer.backup.restore import restore, states
from locatlas.indexer.backup.run import backup
from locatlas.indexer.store import Store
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
