"""Codes on disk of a table in which rows were replaced and deleted before: only rows, and nothing of the table."""

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from locatlas.indexer.backup.restore import restore
from locatlas.indexer.backup.run import backup
from locatlas.indexer.indices import disk
from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.candidates import TableIndex
from locatlas.indexer.indices.disk import DiskCodes, disk_params
from locatlas.indexer.indices.kinds import DISK
from locatlas.indexer.indices.unit import unit_vectors
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import tables, tidy_limits
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from tests.indexer.indices.made import below, folder_of, nearest, of_proteins, put, usable
from tests.indexer.indices.test_disk import check_no_file_of_the_table_is_read

pytestmark = pytest.mark.usefixtures("one_thread")


def names(rows: range) -> list[str]:
    return [f"d/{row:05d}" for row in rows]


@pytest.fixture
def changed(empty: Store, many: StoredEncoder) -> StoredEncoder:
    """Of 3,000 vectors every third is deleted, and 50 others are turned round."""
    empty.delete(many.table, names(range(0, 3000, 3)))
    put(empty, many, names(range(1, 151, 3)), -of_proteins()[1:151:3])
    assert [file for file in below(empty.folder.db / f"{many.table}.lance") if file.startswith("_deletions/")]
    return many


def answers(store: Store, encoder: StoredEncoder) -> list[NDArray[np.int64]]:
    index: TableIndex = usable(store, encoder)
    return [index.candidates(query, 10, None) for query in of_proteins()[::100]]


def test_the_nearest_of_what_is_there_are_proposed(
    empty: Store, changed: StoredEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    table = empty.folder.db / f"{changed.table}.lance"
    before = below(table)
    sidecar = build(empty, changed, DISK)
    assert below(table) == before
    assert sidecar.count == 2000
    assert sidecar.recall_at_10 >= 0.98
    hits = 0
    for query, found in zip(of_proteins()[::100], answers(empty, changed), strict=True):
        assert len(found) < 1000, "an index that proposes everything would be right as well"
        hits += len(nearest(empty, changed, query, 10) & set(found.tolist()))
    assert hits >= 0.98 * 300
    assert not caplog.records


def test_all_that_are_allowed_are_found_where_so_many_are_wanted(empty: Store, changed: StoredEncoder) -> None:
    build(empty, changed, DISK)
    codes = DiskCodes(folder_of(empty, changed), n_list=disk_params(2000, 24)["n_list"])
    query = unit_vectors(of_proteins()[:1])
    np.testing.assert_array_equal(np.sort(codes.search(query, 2000, 1, None)[0]), np.arange(2000))
    allowed = np.arange(2000) % 7 == 0
    found = codes.search(query, 300, 1, allowed)[0]
    np.testing.assert_array_equal(np.sort(found[found >= 0]), np.flatnonzero(allowed))


def test_a_question_reads_no_file_of_the_table(empty: Store, changed: StoredEncoder, tmp_path: Path) -> None:
    build(empty, changed, DISK)
    check_no_file_of_the_table_is_read(empty, changed, disk_params(2000, 24), tmp_path)


def test_an_atlas_that_is_moved_or_restored_answers_as_before(
    empty: Store, changed: StoredEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(empty, changed, DISK)
    before = answers(empty, changed)
    backup(atlas=empty.folder.path, to=tmp_path / "backup", with_indices=True)
    restore(tmp_path / "backup", to=tmp_path / "restored")
    empty.folder.path.rename(tmp_path / "moved")
    for there in ("moved", "restored"):
        for one, other in zip(before, answers(Store.open(tmp_path / there), changed), strict=True):
            np.testing.assert_array_equal(one, other)
        assert verify(atlas=tmp_path / there).damage == []
    assert not caplog.records


def test_an_atlas_whose_parts_are_merged_answers_as_before(
    empty: Store, changed: StoredEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build(empty, changed, DISK)
    before = answers(empty, changed)
    monkeypatch.setattr(tables, "FRAGMENTS_BEFORE_COMPACTION", 1)
    monkeypatch.setattr(tidy_limits, "SUPERSEDED_FOR_S", 0)
    table = empty.folder.db / f"{changed.table}.lance"
    first = set(below(table))
    for n in range(3):  # the version before the newest is kept
        put(empty, changed, [f"e/{n}"], 1e-3 * of_proteins()[:1])
        maintain(atlas=empty.folder.path)
    assert not {file for file in first & set(below(table)) if file.startswith(("_deletions/", "data/"))}
    for one, other in zip(before, answers(empty, changed), strict=True):
        np.testing.assert_array_equal(one, other[other < 2000])
    assert not caplog.records


def test_an_index_that_lance_cannot_search_is_told_once_and_found_by_verify(
    empty: Store,
    changed: StoredEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Such as one that needs files of the table, which is elsewhere now."""
    monkeypatch.setattr(disk, "_without_deletions", lambda clone, _: (clone, np.empty(0, dtype=np.int64)))
    build(empty, changed, DISK)
    empty.folder.path.rename(tmp_path / "moved")
    store = Store.open(tmp_path / "moved")
    with caplog.at_level(logging.WARNING):
        for found in answers(store, changed) + answers(store, changed):
            np.testing.assert_array_equal(found, np.arange(2000))
    assert len(caplog.records) == 1
    assert "cannot be searched" in caplog.text
    for quick in (True, False):
        damage = verify(atlas=store.folder.path, quick=quick).damage
        assert [finding.kind for finding in damage] == ["index damaged"]
        assert "cannot be searched" in damage[0].means
