"""The cache of vectors: what it gives is what the table holds, of this version and no other, or it is not used."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import locatlas
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import cache_entries, vector_cache
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.vector_cache import mapped_vectors
from locatlas.indexer.verify.run import verify
from tests.indexer.verify.whole import flip
from tests.query.made_atlas import encoder, make_atlas
from tests.quick import some

TABLE = StoredEncoder("cell", encoder(), "current").table
ENTRY = ["entry.json", "norms.npy", "rows.arrow", "vectors.npy"]


@pytest.fixture
def atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vector_cache, "CACHE_FROM_BYTES", 1)
    return make_atlas(tmp_path / "atlas")


def entries(atlas: Path) -> list[str]:
    """Files of all entries, those that were begun included."""
    return sorted(path.name for path in (atlas / "cache" / TABLE).rglob("*") if path.is_file())


def same(atlas: Path, *, mapped: bool) -> None:
    """What the cache gives is what the table holds, in the same order."""
    store, read = Store.open(atlas), []
    with pytest.MonkeyPatch.context() as patch:
        whole = Store.read_vectors
        patch.setattr(Store, "read_vectors", lambda self, table, *to: read.append(table) or whole(self, table, *to))
        given = mapped_vectors(store, TABLE)
    held = store.read_vectors(TABLE)
    assert (not read) is mapped
    assert (given.held.ids, given.held.digests, given.held.version) == (held.ids, held.digests, held.version)
    np.testing.assert_array_equal(given.held.vectors, held.vectors)
    if given.norms is not None:
        np.testing.assert_allclose(given.norms, np.linalg.norm(held.vectors.astype(np.float64), axis=1), rtol=1e-12)


def test_the_first_read_writes_it_and_the_second_maps_it(atlas: Path) -> None:
    same(atlas, mapped=False)
    assert entries(atlas) == ENTRY
    same(atlas, mapped=True)
    assert isinstance(mapped_vectors(Store.open(atlas), TABLE).held.vectors.base, np.memmap)


def test_vectors_are_read_into_the_file_that_is_mapped_then(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that more of them than fit in memory can be read."""
    read, whole = [], Store.read_vectors
    monkeypatch.setattr(Store, "read_vectors", lambda *of: read.append(whole(*of)) or read[-1])
    given = mapped_vectors(Store.open(atlas), TABLE).held.vectors
    assert isinstance(read[0].vectors, np.memmap)
    np.testing.assert_array_equal(given, read[0].vectors)
    assert entries(atlas) == ENTRY


@pytest.mark.parametrize("lacks", ["room that can be kept free", "a disk with room"])
def test_where_no_file_can_be_begun_they_are_read_as_before(
    atlas: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    if lacks == "a disk with room":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.delattr(os, "posix_fallocate")
    same(atlas, mapped=False)
    same(atlas, mapped=True)
    assert entries(atlas) == ENTRY


def test_what_was_read_to_be_written_is_not_held_as_well(atlas: Path) -> None:
    assert isinstance(mapped_vectors(Store.open(atlas), TABLE).held.vectors.base, np.memmap)


def test_answers_are_the_same_with_and_without(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = [locatlas.open(atlas).neighbors(id="d/00/1", level="cell", k=5) for _ in range(2)]
    monkeypatch.setattr(vector_cache, "CACHE_FROM_BYTES", 1 << 40)
    cache_entries.drop_cache(Store.open(atlas).folder, TABLE)
    plain = locatlas.open(atlas).neighbors(id="d/00/1", level="cell", k=5)
    assert cached[0].equals(plain)
    assert cached[1].equals(plain)


def test_a_commit_makes_it_stale_and_the_new_one_takes_its_place(atlas: Path) -> None:
    same(atlas, mapped=False)
    store = Store.open(atlas)
    held = store.read_vectors(TABLE)
    with store.folder.writer("a test"):
        store.put_embeddings("cell", encoder().fingerprint, held.ids[:1], ["y"], 2 * held.vectors[:1])
    same(atlas, mapped=False)
    assert entries(atlas) == ENTRY, "that of the old version is gone"
    same(atlas, mapped=True)


def test_a_table_in_the_place_of_another_with_the_same_version_is_not_taken_for_it(atlas: Path, tmp_path: Path) -> None:
    same(atlas, mapped=False)
    other = make_atlas(tmp_path / "other", annotated=False)  # written apart, the vectors alike
    folder = Path("db") / f"{TABLE}.lance"
    (atlas / folder).rename(tmp_path / "away")
    (other / folder).rename(atlas / folder)
    same(atlas, mapped=False)


def test_writing_into_what_is_mapped_changes_no_file(atlas: Path) -> None:
    same(atlas, mapped=False)
    mapped_vectors(Store.open(atlas), TABLE).held.vectors[:] = 0
    same(atlas, mapped=True)


@pytest.mark.parametrize("end", some(ENTRY, 0, -1))
def test_a_flipped_bit_is_found_and_mended(atlas: Path, end: str) -> None:
    same(atlas, mapped=False)
    (path,) = (atlas / "cache" / TABLE).glob(f"*/{end}")
    flip(path, path.stat().st_size - 9, 2)
    (found,) = [f for f in verify(atlas=atlas).findings if f.kind == "cache damaged"]
    assert found.severity == "damage"
    assert path.parent.name in found.where
    repaired = verify(atlas=atlas, repair=True)
    assert not [f for f in verify(atlas=atlas).findings if f.kind == "cache damaged"], repaired.findings
    same(atlas, mapped=False)


@pytest.mark.parametrize("end", ENTRY)
def test_one_that_is_cut_short_or_gone_is_not_used_and_found_by_its_size(atlas: Path, end: str) -> None:
    same(atlas, mapped=False)
    (path,) = (atlas / "cache" / TABLE).glob(f"*/{end}")
    path.write_bytes(path.read_bytes()[:-1])
    assert [f.kind for f in verify(atlas=atlas, quick=True).findings if f.severity == "damage"] == ["cache damaged"]
    same(atlas, mapped=False)  # and makes it anew
    path.unlink()
    same(atlas, mapped=False)
    same(atlas, mapped=True)


def test_no_cache_where_there_is_no_room_and_none_for_small_tables(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        full = cache_entries.shutil.disk_usage(atlas)._replace(free=1000)
        patched.setattr(cache_entries.shutil, "disk_usage", lambda _: full)
        same(atlas, mapped=False)
        assert entries(atlas) == []
    monkeypatch.setattr(vector_cache, "CACHE_FROM_BYTES", 1 << 20)
    same(atlas, mapped=False)
    assert entries(atlas) == []


def test_an_error_while_it_is_written_leaves_nothing_that_looks_whole(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, array: np.ndarray) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(vector_cache, "_save", full)
        same(atlas, mapped=False)
    assert entries(atlas) == []
    same(atlas, mapped=False)
    same(atlas, mapped=True)


def test_what_killed_writers_left_goes_with_the_next_entry(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = atlas / "cache" / TABLE
    for name in (".old.1.1", ".new.2.2"):
        (folder / name).mkdir(parents=True)
        (folder / name / "vectors.npy").write_bytes(b"half")
    os.utime(folder / ".old.1.1", (1, 1))
    same(atlas, mapped=False)
    left = sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
    assert left == [".new.2.2"], "another may be writing it now"
    assert not [f for f in verify(atlas=atlas).findings if f.severity == "damage"]


def test_a_reader_of_an_older_version_does_not_remove_the_entry_of_a_newer_one(atlas: Path) -> None:
    store = Store.open(atlas)
    old = store.read_vectors(TABLE)
    key = vector_cache.manifest_digest(store.folder, TABLE, old.version)
    with store.folder.writer("a test"):
        store.put_embeddings("cell", encoder().fingerprint, old.ids[:1], ["y"], 2 * old.vectors[:1])
    same(atlas, mapped=False)
    assert key is not None
    vector_cache._write(atlas / "cache" / TABLE, key, old, partial(vector_cache._save, array=old.vectors))
    same(atlas, mapped=True)
    assert not [f for f in verify(atlas=atlas).findings if f.severity == "damage"]


def test_maintain_removes_that_of_a_table_that_is_gone(atlas: Path) -> None:
    same(atlas, mapped=False)
    (atlas / "cache" / TABLE).rename(atlas / "cache" / "emb_cell_000000000000")
    maintain(atlas=atlas)
    assert cache_entries.cached_tables(Store.open(atlas).folder) == ["encoders"]


def test_maintain_removes_a_cache_whose_deletion_was_killed(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(atlas)
    mapped_vectors(store, TABLE)
    with monkeypatch.context() as patch:
        patch.setattr(cache_entries.shutil, "rmtree", lambda *_, **__: None)
        cache_entries.drop_cache(store.folder, TABLE)
    (left,) = (atlas / "cache").iterdir()
    n_bytes = sum(path.stat().st_size for path in left.rglob("*") if path.is_file())
    assert maintain(atlas=atlas).freed_bytes >= n_bytes > 0
    assert not left.exists()


def test_a_cache_that_readers_tidy_meanwhile_is_dropped(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(atlas)
    mapped_vectors(store, TABLE)
    is_file, walk = Path.is_file, os.walk

    def removed_by_another(path: Path) -> bool:
        shutil.rmtree(path.parent if path.suffix else path / "none", ignore_errors=True)
        return is_file(path)

    def walk_where_all_goes(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for found in walk(top):
            for name in found[1]:
                shutil.rmtree(Path(found[0]) / name)
            yield found

    monkeypatch.setattr(Path, "is_file", removed_by_another)
    monkeypatch.setattr(os, "walk", walk_where_all_goes)
    assert cache_entries.drop_cache(store.folder, TABLE) == 0
    assert list((atlas / "cache").iterdir()) == []
