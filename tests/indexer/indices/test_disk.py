"""Codes on disk: proposals against brute force, no trace in the table, in another place, replaced, damaged, killed."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.backup.restore import restore
from locatlas.indexer.backup.run import backup
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.indices import build as building
from locatlas.indexer.indices import disk, kinds
from locatlas.indexer.indices import index as opening
from locatlas.indexer.indices.disk import DiskCodes, disk_params, write_codes
from locatlas.indexer.indices.files import disk_folder, disk_folders, index_paths
from locatlas.indexer.indices.index import build, open_index, refresh
from locatlas.indexer.indices.kinds import DISK, Kind, find_candidates, unit_vectors
from locatlas.indexer.indices.sidecar import Sidecar
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import encoders, tables, tidy_limits
from locatlas.indexer.store.arrow_files import write_table
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from tests.indexer.indices.test_index import D, N, files, made, names, nearest, opened, put, usable
from tests.indexer.store.test_encoders import spec

pytestmark = pytest.mark.usefixtures("one_thread")


def folder_of(store: Store, encoder: StoredEncoder) -> Path:
    sidecar = Sidecar.from_json(index_paths(store.folder, encoder.table)[1].read_text())
    return disk_folder(store.folder, sidecar)


def below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def of_proteins() -> NDArray[np.float32]:
    rng = np.random.default_rng(5)
    centres = np.repeat(rng.standard_normal((30, 24)), 100, axis=0)
    return (centres + 0.4 * rng.standard_normal((3000, 24))).astype(np.float32)


def test_the_nearest_by_brute_force_are_proposed_also_where_the_own_protein_fills_the_lists(tmp_path: Path) -> None:
    vectors, protein = of_proteins(), np.arange(3000) // 100
    ids = [f"{i:05d}" for i in range(3000)]
    np.savez(tmp_path / "v.npz", ids=ids, vectors=vectors, protein=[f"P{p}" for p in protein])
    import_embeddings(tmp_path / "v.npz", atlas=tmp_path / "atlas", name="made", level="cell")
    store = Store.open(tmp_path / "atlas")
    one = encoders.current(store, "cell")
    assert one is not None
    sidecar = build(store, one, DISK)
    assert sidecar.recall_at_10 >= 0.98
    assert sidecar.recall_among == "other proteins"
    index, hits = usable(store, one), 0
    rows = np.random.default_rng(0).choice(3000, 60, replace=False)
    for row in rows:
        assert nearest(store, one, vectors[row], 10) <= set(index.candidates(5 * vectors[row], 10, None).tolist())
        allowed = protein != protein[row]
        exact = nearest(store, one, vectors[row], 10, np.flatnonzero(allowed))
        proposed = index.candidates(vectors[row], 10, allowed)
        assert allowed[proposed].all()
        assert len(proposed) < 1500, "an index that proposes everything would be right as well"
        hits += len(exact & set(proposed.tolist()))
    assert hits >= 0.98 * 600


def test_building_leaves_no_trace_in_the_table(empty: Store, many: StoredEncoder) -> None:
    table = empty.folder.db / f"{many.table}.lance"
    before = below(table)
    build(empty, many, DISK)
    assert below(table) == before


def check_no_file_of_the_table_is_read(
    store: Store, encoder: StoredEncoder, params: dict[str, int], tmp_path: Path
) -> None:
    """Its answers stay what they are once the tables are gone."""
    params = {**params, "refine": 2}
    asked = unit_vectors(of_proteins()[::300])
    codes = DiskCodes(folder_of(store, encoder), n_list=params["n_list"])
    before = find_candidates(codes, DISK, params, asked, 10, None)
    away = tmp_path / "elsewhere"
    shutil.copytree(folder_of(store, encoder), away)
    shutil.rmtree(store.folder.db)
    moved = DiskCodes(away, n_list=params["n_list"])
    np.testing.assert_array_equal(find_candidates(moved, DISK, params, asked, 10, None), before)
    assert (before >= 0).all()


def test_a_question_reads_no_file_of_the_table(empty: Store, many: StoredEncoder, tmp_path: Path) -> None:
    """So that it matters neither where the table lies nor whether the version that was indexed is still there."""
    build(empty, many, DISK)
    check_no_file_of_the_table_is_read(empty, many, disk_params(3000, 24), tmp_path)


def test_an_index_is_good_for_the_table_after_its_parts_were_merged_and_old_versions_removed(
    empty: Store, many: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(empty, many, DISK)
    version = empty.version(many.table)
    monkeypatch.setattr(tables, "FRAGMENTS_BEFORE_COMPACTION", 1)
    monkeypatch.setattr(tidy_limits, "SUPERSEDED_FOR_S", 0)
    maintain(atlas=empty.folder.path)
    assert empty.version(many.table) > version
    index, said = opened(empty, many)
    assert index is not None, said
    assert said == "up to date"
    for query in of_proteins()[::500]:
        assert nearest(empty, many, query, 1) <= set(index.candidates(query, 10, None).tolist())


def test_vectors_stored_as_float16_are_indexed(empty: Store) -> None:
    one = StoredEncoder("fov", spec(embedding_dim=D, storage="float16"), "current")
    encoders.put(empty, one)
    empty.put_embeddings("fov", one.fingerprint, names(N), ["x"] * N, made(N), storage="float16")
    assert build(empty, one, DISK).recall_at_10 > 0.98
    assert opened(empty, one)[1] == "up to date"


def test_vectors_whose_length_is_no_multiple_of_eight_are_refused_in_one_line(empty: Store) -> None:
    one = StoredEncoder("fov", spec(embedding_dim=12), "current")
    put(empty, one, names(9), made(9)[:, :12])
    with pytest.raises(InputError, match="vectors of 12 numbers: lance-ivfrq is for lengths that are multiples of 8"):
        build(empty, one, DISK)
    assert not list(empty.folder.indices.iterdir())


class Unread:
    """Vectors that nobody may look at."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n


def test_no_vector_is_read_to_open_an_index_after_a_later_commit(empty: Store, encoder: StoredEncoder) -> None:
    build(empty, encoder, DISK)
    put(empty, encoder, ["a/first"], made(1, seed=3))
    held = empty.read_vectors(encoder.table)
    unread: Any = Unread(len(held))
    index, said = open_index(empty, encoder, replace(held, vectors=unread))
    assert index is not None
    assert said == "1 rows later"
    put(empty, encoder, ["d/00003"], made(1, seed=4))
    changed = replace(empty.read_vectors(encoder.table), vectors=unread)
    assert open_index(empty, encoder, changed) == (None, "index stale: rows it holds were changed or removed")


def test_an_index_that_does_not_tell_its_sources_is_not_used_after_a_later_commit(
    empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(path: Path, table: pa.Table) -> None:
        write_table(path, table.select(["id"]))

    monkeypatch.setattr(disk, "write_table", without)
    build(empty, encoder, DISK)
    assert opened(empty, encoder)[1] == "up to date"
    put(empty, encoder, ["z/1"], made(1, seed=3))
    index, said = opened(empty, encoder)
    assert index is None
    assert "does not tell the sources of its vectors" in said


# --- one takes the place of another ---


def test_who_has_an_index_open_goes_on_while_it_is_built_anew_and_is_answered_exactly_once_it_is_removed(
    empty: Store,
    encoder: StoredEncoder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    build(empty, encoder, DISK)
    index, first = usable(empty, encoder), folder_of(empty, encoder)
    build(empty, encoder, DISK)
    assert first.is_dir()
    query = made(1, seed=9)[0]
    assert nearest(empty, encoder, query, 3) <= set(index.candidates(query, 3, None).tolist())
    assert not caplog.records
    maintain(atlas=empty.folder.path)
    assert disk_folders(empty.folder, encoder.table) == [folder_of(empty, encoder)]
    allowed = np.arange(N) % 2 == 0
    with caplog.at_level(logging.WARNING):
        found = index.candidates(query, 3, allowed)
    np.testing.assert_array_equal(found, np.flatnonzero(allowed))
    assert "cannot be searched" in caplog.text
    assert usable(empty, encoder).sidecar.folder == folder_of(empty, encoder).name


def test_no_more_than_two_are_kept(empty: Store, encoder: StoredEncoder) -> None:
    for _ in range(3):
        build(empty, encoder, DISK)
    kept = disk_folders(empty.folder, encoder.table)
    assert len(kept) == 2
    assert kept[-1] == folder_of(empty, encoder)


def test_the_one_in_use_is_kept_where_the_clock_went_back(empty: Store, encoder: StoredEncoder) -> None:
    for _ in range(3):
        build(empty, encoder, DISK)
        for folder in disk_folders(empty.folder, encoder.table):
            os.utime(folder, (4e9, 4e9))  # in the year 2096
    assert folder_of(empty, encoder).is_dir()
    assert len(disk_folders(empty.folder, encoder.table)) == 2
    assert opened(empty, encoder)[1] == "up to date"


def test_a_faiss_file_and_an_index_on_disk_take_each_others_place(empty: Store, encoder: StoredEncoder) -> None:
    for kind in ("flat", DISK, "flat"):
        assert refresh(empty.folder.path, kind, levels=("fov",))["fov"].startswith(
            "lance-ivfrq on disk over 300" if kind == DISK else "FAISS flat over 300"
        )
        assert usable(empty, encoder).sidecar.kind == kind
        assert files(empty, encoder)["faiss"].exists() == (kind == "flat")
        assert verify(atlas=empty.folder.path).damage == []
    maintain(atlas=empty.folder.path)
    assert disk_folders(empty.folder, encoder.table) == []


@pytest.mark.parametrize(("kind", "then"), [("ivf", DISK), (DISK, "ivf"), (DISK, DISK)])
def test_an_index_that_another_takes_the_place_of_while_it_is_opened_is_not_used(
    empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch, kind: Kind, then: Kind
) -> None:
    build(empty, encoder, kind)
    opens = "DiskCodes" if kind == DISK else "read_faiss"
    really, times = getattr(opening, opens), 0

    def meanwhile(*args: Any, **options: Any) -> Any:
        nonlocal times
        times += 1
        index = really(*args, **options)
        if times == 1:
            build(empty, encoder, then)
        return index

    monkeypatch.setattr(opening, opens, meanwhile)
    assert usable(empty, encoder).sidecar.kind == then


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (os.utime, "index built anew 5 times while it was opened"),
        (os.unlink, "no index"),  # as a build of a FAISS file begins
    ],
)
def test_an_index_whose_sidecar_changes_whenever_it_is_opened_is_told(
    empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], None], said: str
) -> None:
    build(empty, encoder, DISK)

    def meanwhile(*args: Any, **options: Any) -> Any:
        happens(index_paths(empty.folder, encoder.table)[1])
        return DiskCodes(*args, **options)

    monkeypatch.setattr(opening, "DiskCodes", meanwhile)
    assert opened(empty, encoder) == (None, said)


def test_auto_builds_it_where_the_vectors_take_more_than_half_of_the_memory(
    empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "AUTO_EXACT_BELOW", 100)
    for memory, said in ((4 * N * D * 2, "FAISS ivfpq over 300"), (4 * N * D * 2 - 1, "lance-ivfrq on disk over 300")):
        monkeypatch.setattr(opening, "usable_memory", lambda memory=memory: memory)
        shutil.rmtree(empty.folder.indices, ignore_errors=True)
        assert refresh(empty.folder.path, "auto", levels=("fov",))["fov"].startswith(said)


@pytest.mark.parametrize("dies_at", ["codes", "sidecar"])
def test_an_index_whose_successor_was_not_finished_is_used(
    empty: Store,
    encoder: StoredEncoder,
    monkeypatch: pytest.MonkeyPatch,
    dies_at: str,
) -> None:
    build(empty, encoder, DISK)
    first = folder_of(empty, encoder)

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "digests_below" if dies_at == "codes" else "write_atomically", dies)
        with pytest.raises(KeyboardInterrupt):
            build(empty, encoder, DISK)
    assert folder_of(empty, encoder) == first
    assert opened(empty, encoder)[1] == "up to date"
    assert len(os.listdir(empty.folder.indices)) == (2 if dies_at == "codes" else 3)
    maintain(atlas=empty.folder.path)
    assert sorted(os.listdir(empty.folder.indices)) == sorted([first.name, f"{encoder.table}.json"])


def test_what_a_killed_build_left_is_removed_by_the_next_writer(empty: Store, encoder: StoredEncoder) -> None:
    left = empty.folder.indices / f".{encoder.table}.{'0' * 16}.disk.tmp"
    (left / "codes.lance").mkdir(parents=True)
    with empty.folder.writer("test"):
        assert not left.exists()


# --- never used ---


def test_a_file_that_is_cut_or_missing_is_not_used_and_told(empty: Store, encoder: StoredEncoder) -> None:
    build(empty, encoder, DISK)
    for part in below(folder_of(empty, encoder)):
        for damage in ("truncated", "missing"):
            path = folder_of(empty, encoder) / part
            data = path.read_bytes()
            path.unlink()
            if damage == "truncated":
                path.write_bytes(data[:-1])
            assert opened(empty, encoder) == (None, "index file damaged")
            report = verify(atlas=empty.folder.path, quick=True)
            assert [f.kind for f in report.damage] == ["index damaged"]
            path.write_bytes(data)


def test_a_flipped_bit_in_any_file_is_found_by_verify_and_answers_stay_among_the_rows(
    empty: Store,
    encoder: StoredEncoder,
) -> None:
    build(empty, encoder, DISK)
    query = made(1, seed=9)[0]
    for part, data in below(folder_of(empty, encoder)).items():
        path = folder_of(empty, encoder) / part
        for at in range(0, len(data), max(1, len(data) // 4)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            assert [f.kind for f in verify(atlas=empty.folder.path).damage] == ["index damaged"], part
            index, _ = opened(empty, encoder)
            if index is not None:
                found = index.candidates(query, 3, None)
                assert 3 <= len(found) == len(set(found.tolist()))
                assert ((found >= 0) & (found < N)).all()
        path.write_bytes(data)
    assert verify(atlas=empty.folder.path).damage == []


def test_an_index_on_disk_of_another_table_is_foreign(empty: Store, encoder: StoredEncoder) -> None:
    other = StoredEncoder("fov", spec(1, embedding_dim=D), "superseded")
    encoders.put(empty, other)
    put(empty, other, names(N), made(N))
    build(empty, encoder, DISK)
    mine, theirs = (index_paths(empty.folder, one.table)[1] for one in (encoder, other))
    mine.rename(theirs)
    assert opened(empty, other) == (None, "index of another table or encoder")
    assert "index foreign" in [f.kind for f in verify(atlas=empty.folder.path).damage]


def test_rows_that_it_never_held_are_told_and_not_answered(
    empty: Store, encoder: StoredEncoder, tmp_path: Path
) -> None:
    held = empty.read_vectors(encoder.table)
    write_codes(empty.folder.db / f"{encoder.table}.lance", held, disk_params(N, D), tmp_path)
    rows = np.load(tmp_path / "rows.npy")
    for off in ((1, 0), (0, 1), (0, -1), (0, 1 << 40)):
        np.save(tmp_path / "rows.npy", rows + np.array(off)[:, None])
        index = DiskCodes(tmp_path, n_list=disk_params(N, D)["n_list"])
        with pytest.raises(StoreDamagedError, match="proposes rows that it does not hold"):
            index.search(made(1), 300, 7, None)


def test_a_backup_with_indices_is_restored_with_it_and_one_without_has_none(
    empty: Store,
    encoder: StoredEncoder,
    tmp_path: Path,
) -> None:
    build(empty, encoder, DISK)
    query = made(1, seed=9)[0]
    before = usable(empty, encoder).candidates(query, 5, None)
    restored = {}
    for with_indices in (False, True):
        there = tmp_path / f"{with_indices}"
        backup(atlas=empty.folder.path, to=there / "backup", with_indices=with_indices)
        restore(there / "backup", to=there / "atlas")
        restored[with_indices] = Store.open(there / "atlas")
    shutil.rmtree(empty.folder.path)  # the clone names its files
    assert opened(restored[False], encoder) == (None, "no index")
    np.testing.assert_array_equal(usable(restored[True], encoder).candidates(query, 5, None), before)


def test_an_atlas_that_is_moved_with_its_index_answers_as_before(
    empty: Store,
    encoder: StoredEncoder,
    tmp_path: Path,
) -> None:
    build(empty, encoder, DISK)
    query = made(1, seed=9)[0]
    before = usable(empty, encoder).candidates(query, 5, None)
    empty.folder.path.rename(tmp_path / "renamed")
    moved = Store.open(tmp_path / "renamed")
    index, said = open_index(moved, encoder, moved.read_vectors(encoder.table))
    assert index is not None, said
    np.testing.assert_array_equal(index.candidates(query, 5, None), before)
