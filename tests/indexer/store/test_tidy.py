"""Files of a table that is written for long: bounded, and never taken away from under a reader."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from locatlas.errors import StoreDamagedError
from locatlas.indexer.embed import reembed
from locatlas.indexer.index import index
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import tidy_limits
from locatlas.indexer.store.digests import committed_files
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import FREED, MERGED, REMOVED, old_versions, remove_versions, superseded, tidy
from tests.indexer.made import write_collection
from tests.indexer.store.test_tables import TABLE, put
from tests.indexer.test_interrupted import begun

DAY = dt.datetime(2026, 4, 10, tzinfo=dt.UTC)


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lowers the limits."""

    def lower(*, versions: int = 4, superseded_for_s: float = 600) -> None:
        monkeypatch.setattr("locatlas.indexer.store.tables.FRAGMENTS_BEFORE_COMPACTION", 3)
        monkeypatch.setattr("locatlas.indexer.commits.FRAGMENTS_BEFORE_COMPACTION", 3)
        monkeypatch.setattr(tidy_limits, "VERSIONS_BEFORE_CLEANING", versions)
        monkeypatch.setattr(tidy_limits, "SUPERSEDED_FOR_S", superseded_for_s)

    return lower


def written(store: Store, n: int) -> None:
    for i in range(n):
        put(store, [f"i{i:02d}"], [[i, 0, 0, 0]])


OTHER = "f" * 64


def put_in(store: Store, fingerprint: str, name: str) -> None:
    store.put_embeddings("fov", fingerprint, [name], ["x"], np.ones((1, 4), np.float32))


def n_versions(store: Store, table: str = TABLE) -> int:
    return len(list((store.folder.db / f"{table}.lance" / "_versions").glob("*.manifest")))


def n_files(store: Store, table: str = TABLE) -> int:
    return sum(path.is_file() for path in (store.folder.db / f"{table}.lance").rglob("*"))


def test_a_version_goes_a_time_after_it_was_superseded_however_old_it_is() -> None:
    minutes = {1: -10_000, 2: -20, 3: -15, 4: -1}
    listed = [{"version": v, "timestamp": DAY + dt.timedelta(minutes=m)} for v, m in minutes.items()]
    assert superseded(listed, dt.timedelta(minutes=10), DAY) == [1, 2]
    assert superseded(listed[:1], dt.timedelta(minutes=10), DAY) == []
    assert superseded([listed[0], listed[3]], dt.timedelta(minutes=10), DAY) == []
    # written by a clock that was ahead
    listed[1]["timestamp"] = DAY + dt.timedelta(days=1)
    assert superseded(listed, dt.timedelta(minutes=10), DAY) == [1, 2]


def test_above_a_limit_fragments_are_merged_and_old_versions_removed_and_counted(
    empty: Store, low: Callable[..., None]
) -> None:
    written(empty, 6)
    rows, files = empty.read(TABLE), n_files(empty)
    low(versions=100, superseded_for_s=0)
    run = Run(empty, "index", dataset=None)
    tidy(empty, [TABLE, "absent"], run)
    assert (dict(run.counts), len(empty._dataset(TABLE).get_fragments())) == ({MERGED: 1}, 1)
    low(superseded_for_s=0)
    before = n_versions(empty)
    tidy(empty, [TABLE], run)
    assert (n_versions(empty), run.counts[REMOVED]) == (2, before - 2)
    assert run.counts[FREED] > 0
    assert n_files(empty) < files
    assert empty.read(TABLE) == rows
    put(empty, ["i03"], [[9, 0, 0, 0]])
    assert empty.count(TABLE) == 6


def test_bytes_that_the_newest_version_does_not_use_are_a_limit_too(
    empty: Store, low: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(empty, 4)
    low(versions=100, superseded_for_s=0)
    empty.compact(TABLE)
    run = Run(empty, "index", dataset=None)
    tidy(empty, [TABLE], run)
    assert not run.counts
    monkeypatch.setattr(tidy_limits, "OLD_BYTES_BEFORE_CLEANING", 1)
    tidy(empty, [TABLE], run)
    assert n_versions(empty) == 2


def test_a_reader_that_opened_before_maintenance_reads_the_whole_afterwards(
    atlas: Path, store: Store, low: Callable[..., None]
) -> None:
    low(versions=0)
    handles: list[tuple[Any, Any]] = []
    for table in store.tables():
        dataset = store._dataset(table)
        handles.append((dataset, dataset.to_table()))
    # each table is written once more, so that what the readers hold is superseded, though only just
    for table in store.tables():
        rows = store.read(table)
        store.upsert(table, rows.slice(0, 1), schema=rows.schema)
        if table == "fovs":
            written(store, 6)
    maintain(atlas=atlas)
    for dataset, rows in handles:
        assert dataset.to_table() == rows


def test_a_reader_whose_version_was_superseded_too_long_ago_is_told_in_one_line(
    empty: Store, low: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    low(superseded_for_s=0)
    written(empty, 2)
    held, real = empty._dataset(TABLE), empty._dataset
    written(empty, 6)
    empty.compact(TABLE)
    assert remove_versions(empty, TABLE, old_versions(empty, TABLE))[0] > 1
    opened = iter([held])
    monkeypatch.setattr(empty, "_dataset", lambda table: next(opened, None) or real(table))
    with pytest.raises(StoreDamagedError, match=r"version \d+, which was being read, .* removed; read again$") as told:
        empty.read(TABLE)
    assert "\n" not in str(told.value)
    assert empty.read(TABLE).num_rows == 6


def test_what_is_said_to_be_removed_is_what_goes_and_nothing_that_another_version_needs(
    empty: Store, low: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    low(superseded_for_s=0)
    written(empty, 6)
    empty.compact(TABLE)
    empty.delete(TABLE, ["i00"])
    said: list[str] = []
    real = empty.digests.removing
    monkeypatch.setattr(empty.digests, "removing", lambda paths: (said.extend(paths), real(paths))[1])
    before = {name for name, _ in committed_files(empty.folder, TABLE)}
    old = old_versions(empty, TABLE, spared=[3])
    assert remove_versions(empty, TABLE, old)[0] == len(old) > 3
    after = {name for name, _ in committed_files(empty.folder, TABLE)}
    assert set(said) == before - after
    assert lance.dataset(str(empty.folder.db / f"{TABLE}.lance"), version=3).to_table().num_rows == 2


def test_an_unreadable_record_of_before_an_upgrade_keeps_versions_and_tables_are_merged_all_the_same(
    empty: Store, low: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    low(superseded_for_s=0)
    written(empty, 6)
    for name in "abcdef":
        put_in(empty, OTHER, name)
    record = empty.folder.path / "before-upgrade" / "schema-1" / "backup.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    run, before = Run(empty, "index", dataset=None), n_versions(empty)
    tidy(empty, [TABLE, f"emb_fov_{OTHER[:12]}"], run)
    assert dict(run.counts) == {MERGED: 2}
    assert n_versions(empty) > before
    assert len(caplog.messages) == 1
    assert "old versions are removed by `locatlas maintain` only" in caplog.messages[0]


def test_versions_and_files_stay_bounded_while_a_run_commits_many_times(
    plain: None, tmp_path: Path, low: Callable[..., None]
) -> None:
    low(superseded_for_s=0)
    source, atlas = write_collection(tmp_path / "source", range(24)), tmp_path / "atlas"
    counts: list[int] = []

    def count(*_: Any) -> None:
        store = Store.open(atlas)
        counts.extend(n_versions(store, table) for table in store.tables())

    summary = index(source, atlas=atlas, dataset="opencell", commit_rows=1, progress=count)
    assert summary.maintained.versions > 2 * 12
    assert summary.maintained.merged > 2
    new, counted = begun(Store.open(atlas)), max(counts)
    counts.clear()
    # slabs of a re-embedding are shorter than the pause between two looks at the files
    again = reembed(atlas=atlas, encoder=new.fingerprint, commit_rows=1, progress=count)
    assert again.maintained.versions > 12
    # the limit, and the commits until the next look with their merging
    assert max(counted, *counts) <= 4 + 3 + 2
