"""Codes on disk: proposals against brute force, no trace in the table, restored and moved with their atlas."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from locatlas.errors import InputError
from locatlas.indexer.backup.restore import restore
from locatlas.indexer.backup.run import backup
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.indices import disk
from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.candidates import find_candidates
from locatlas.indexer.indices.disk import DiskCodes, disk_params
from locatlas.indexer.indices.kinds import DISK
from locatlas.indexer.indices.opening import open_index
from locatlas.indexer.indices.unit import unit_vectors
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import encoders, tables, tidy_limits
from locatlas.indexer.store.arrow_files import write_table
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from tests.indexer.indices.made import D, N, below, folder_of, made, names, nearest, of_proteins, opened, put, usable
from tests.indexer.store.test_encoders import spec

pytestmark = pytest.mark.usefixtures("one_thread")


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
