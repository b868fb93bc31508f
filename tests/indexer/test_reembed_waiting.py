"""Who waits for whom while an atlas is re-embedded, and what they are told."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.index import index
from locatlas.indexer.pipeline import Throttle
from locatlas.indexer.store import locks
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas
from tests.indexer.made import write_field
from tests.indexer.test_reembed import OTHER, begin, between, check_whole

__all__ = ["between"]


def test_the_second_re_embedding_is_told_who_is_at_it_and_for_how_long(atlas: Path, store: Store, between: Any) -> None:
    begin(store)
    refused: list[str] = []

    def try_it() -> None:
        for command in (lambda: reembed(atlas=atlas), lambda: embed(atlas=atlas, request=OTHER)):
            with pytest.raises(AtlasLockedError) as caught:
                command()
            refused.append(str(caught.value))

    between(1, try_it)
    reembed(atlas=atlas)
    assert len(refused) == 2
    for message in refused:
        assert ": its vectors are being renewed (`reembed`, process " in message
        assert " s); wait for it or stop it. Queries keep working" in message


def test_a_run_that_goes_on_is_not_closed_by_others_and_is_told_as_running(
    atlas: Path, store: Store, source: Path, between: Any
) -> None:
    begin(store)
    seen: list[dict[str, Any]] = []

    def look() -> None:
        write_field(source, 6)
        index(source, atlas=atlas, dataset="opencell")
        status = open_atlas(atlas).status()
        seen.append({run["command"]: run["state"] for run in status["runs"]} | {"who": status["reembedding"]})

    between(3, look)
    reembed(atlas=atlas, commit_rows=2)
    (status,) = seen
    assert (status["reembed"], status["index"]) == ("running", "done")
    assert status["who"]["command"] == "reembed"
    rows = store.read("runs").to_pylist()
    assert [row["state"] for row in rows if row["command"] == "reembed"] == ["done"]
    assert open_atlas(atlas).status()["reembedding"] is None


def test_it_waits_for_index_and_says_so(
    atlas: Path, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin(store)
    monkeypatch.setattr(locks, "TELL_AFTER_S", 0.0)
    holding, told = threading.Event(), threading.Event()
    real = locks.logger.warning

    def warn(*message: Any) -> None:
        real(*message)
        told.set()

    monkeypatch.setattr(locks.logger, "warning", warn)

    def hold() -> None:
        with store.folder.writer("index /images"):
            holding.set()
            assert told.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    assert holding.wait(30)
    assert reembed(atlas=atlas).embedded == 6
    other.join()
    assert "waiting for `index /images`, process " in caplog.text


def test_index_waits_for_a_commit_of_a_re_embedding(atlas: Path, store: Store, source: Path) -> None:
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store.folder.writer("reembed", brief=True):
            holding.set()
            release.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    assert holding.wait(30)
    threading.Timer(0.1, release.set).start()
    write_field(source, 6)
    assert index(source, atlas=atlas, dataset="opencell").embedded == 1
    other.join()


def test_nothing_is_waited_for_where_nothing_is_to_be_done(atlas: Path, store: Store) -> None:
    with store.folder.writer("index /images"):
        assert reembed(atlas=atlas).skipped == 6


def test_many_writers_at_once_end_in_one_whole_atlas(atlas: Path, store: Store, source: Path) -> None:
    begin(store)

    def keep_indexing() -> None:
        for n in range(6, 10):
            write_field(source, n)
            index(source, atlas=atlas, dataset="opencell", commit_rows=1)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(keep_indexing)
        reembed(atlas=atlas, commit_rows=1)
        other.result()
    assert reembed(atlas=atlas).embedded == 0
    assert store.count("fovs") == 10
    check_whole(store)


def test_it_rests_after_each_batch_and_for_as_long_as_the_share_says(
    atlas: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(store)
    rests: list[float] = []
    real = Throttle.rest
    monkeypatch.setattr(Throttle, "rest", lambda self: rests.append(real(self)))
    reembed(atlas=atlas, commit_rows=2, busy=0.999)
    assert len(rests) == 3
    with pytest.raises(InputError, match=r"share of the time to work: 0; more than 0 and at most 1 needed"):
        reembed(atlas=atlas, busy=0)
