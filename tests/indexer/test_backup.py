"""Backups: consistent while the atlas is in use, incremental, checked by digest, whole or as before after a kill."""

from pathlib import Path
from typing import Any

import lance
import pytest

from locatlas.errors import InputError, StoreDamagedError, UnknownNameError
from locatlas.indexer.backup.restore import check_backup, restore, states
from locatlas.indexer.backup.run import backup
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


def test_an_atlas_that_was_moved_goes_on_with_its_backup(atlas: Path, tmp_path: Path) -> None:
    backup(atlas=atlas, to=tmp_path / "backup")
    atlas.rename(tmp_path / "renamed")
    assert not backup(atlas=tmp_path / "renamed", to=tmp_path / "backup").new
