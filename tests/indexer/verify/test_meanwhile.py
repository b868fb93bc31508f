"""What others do between two things that `verify` reads is no damage."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from locatlas.indexer.indices.build import build
from locatlas.indexer.store import tidy_limits
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import old_versions, remove_versions
from locatlas.indexer.verify import indices, tables
from locatlas.indexer.verify.run import verify
from tests.indexer.verify.whole import current, kinds


@pytest.fixture
def store(whole: Path) -> Store:
    return Store.open(whole)


class Once:
    """Does something at the first call of a function, before it is called."""

    def __init__(self, real: Any, deed: Any) -> None:
        self.real, self.deed, self.calls = real, deed, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            self.deed()
        return self.real(*args, **options)


def test_a_row_that_is_removed_after_its_id_was_read_makes_an_index_stale(
    whole: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = current(store, "fov")

    def remove() -> None:
        with store.folder.writer("index --prune"):
            store.delete(used.table, ["manifest/a"])

    once = Once(indices._digest_now, remove)
    monkeypatch.setattr(indices, "_digest_now", once)
    report = verify(atlas=whole)
    assert once.calls > 0
    assert kinds(report) == []
    assert kinds(report, "note") == ["index stale"]


@pytest.mark.parametrize("full", [True, False], ids=["full", "quick"])
def test_an_index_that_is_built_anew_while_its_files_are_read_is_whole(
    full: bool, whole: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = current(store, "fov")

    def again() -> None:
        with store.folder.writer("FAISS"):
            build(store, used, "hnsw")

    once = Once(indices.file_digest, again)
    monkeypatch.setattr(indices, "file_digest", once)
    report = verify(atlas=whole, quick=not full)
    assert once.calls > 1
    assert report.findings == []


def test_an_index_of_a_version_that_was_written_since_the_table_was_looked_at_is_not_foreign(
    whole: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = current(store, "fov")

    def write() -> None:
        held = store.read_vectors(used.table).take([0])
        with store.folder.writer("reembed"):
            store.put_embeddings("fov", used.fingerprint, held.ids, held.digests, held.vectors)
            build(store, used, "flat")

    once = Once(indices._contents, write)
    monkeypatch.setattr(indices, "_contents", once)
    report = verify(atlas=whole)
    assert once.calls > 1
    assert kinds(report) == []


def test_a_table_that_is_dropped_after_it_was_listed_is_no_damage(
    whole: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = current(store, "fov")
    folder = whole / "db" / f"{used.table}.lance"
    real = tables.open_table

    def opening(at: Any, name: str) -> Any:
        if name == used.table and folder.exists():
            with store.folder.writer("maintain"), store.digests.removing([f"db/{folder.name}/"]):
                shutil.rmtree(folder)
        return real(at, name)

    monkeypatch.setattr(tables, "open_table", opening)
    report = verify(atlas=whole)
    assert "table unreadable" not in kinds(report)


@pytest.mark.parametrize("times", [1, 99])
def test_a_version_that_a_run_removes_while_it_is_read_is_no_damage(
    times: int, whole: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy_limits, "SUPERSEDED_FOR_S", 0)
    used = current(store, "fov")
    real, seen = tables.look_at_ids, []

    def looking(opened: Any, columns: list[str]) -> Any:
        if opened.name == used.table and len(seen) < times:
            seen.append(opened.version)
            held = store.read_vectors(used.table)
            with store.folder.writer("reembed"):
                for _ in range(2):
                    store.put_embeddings("fov", used.fingerprint, held.ids, held.digests, held.vectors)
                remove_versions(store, used.table, old_versions(store, used.table))
        return real(opened, columns)

    monkeypatch.setattr(tables, "look_at_ids", looking)
    report = verify(atlas=whole)
    assert seen
    assert kinds(report) == []
    assert ("not looked at" in kinds(report, "note")) == (times > 1)
