"""Re-embedding beside others: what they delete, change and bring meanwhile, who waits for whom, and what is stale."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from locatlas.errors import AtlasLockedError, InputError, UnknownNameError
from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.index import index
from locatlas.indexer.pipeline import Throttle
from locatlas.indexer.store import encoders, locks
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.schema import FOVS
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from locatlas.query.answers.tables import context
from locatlas.query.atlas import open_atlas
from tests.indexer.made import (
    PlainEncoder,
    contents,
    id_of,
    name_of,
    pixels,
    vectors,
    versions,
    write_annotations,
    write_field,
)
from tests.indexer.masked import MASKS, write_mask, write_masked

OTHER = EncoderRequest(mapping="random", seed=3)


def begin(store: Store, level: str = "fov", seed: int = 3) -> StoredEncoder:
    """An encoder that was trained and not embedded with yet."""
    now = encoders.current(store, level)
    assert now is not None
    spec = now.spec.with_changes(mapping="random", mapping_seed=seed, parent=now.fingerprint)
    new = StoredEncoder(level, spec, "building")
    with store.folder.writer("finetune"):
        encoders.put(store, new)
    return new


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], list[int]]:
    """Do something once, before a batch of a re-embedding is handed over to be committed."""

    def arrange(batch: int, deed: Callable[[], Any]) -> list[int]:
        seen: list[int] = []
        main = threading.get_ident()

        class Interrupted(PlainEncoder):
            def encode_prepared(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
                if self.spec.mapping == "random" and threading.get_ident() == main:
                    seen.append(len(prepared))
                    if len(seen) == batch:
                        deed()
                return super().encode_prepared(prepared)

        monkeypatch.setattr("locatlas.indexer.job.load_encoder", Interrupted)
        return seen

    return arrange


def check_whole(store: Store, level: str = "fov") -> None:
    """Every image has the vector of its pixels by the current encoder, and no encoder has one without its image."""
    table = "fovs" if level == "fov" else "cells"
    images = {r["id"]: r["source_digest"] for r in store.read(table, ["id", "source_digest"]).to_pylist()}
    for encoder in encoders.stored_encoders(store, level):
        rows = store.read(encoder.table, ["id", "source_digest"]).to_pylist()
        assert {row["id"] for row in rows} <= images.keys()
        if encoder.state == "current":
            assert {row["id"]: row["source_digest"] for row in rows} == images


def test_an_encoder_that_was_begun_is_completed_and_then_nothing_is_stale(
    atlas: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = begin(store)
    assert reembed(atlas=atlas, commit_rows=4).embedded == 6
    now = encoders.current(store, "fov")
    assert now is not None
    assert now.fingerprint == new.fingerprint
    check_whole(store)
    before = versions(store)
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", lambda _: pytest.fail("nothing is to be embedded"))
    assert reembed(atlas=atlas).skipped == 6
    assert versions(store) == before


def test_it_ends_with_the_vectors_that_indexing_with_the_encoder_makes(
    atlas: Path, store: Store, source: Path, tmp_path: Path
) -> None:
    new = begin(store)
    reembed(atlas=atlas, commit_rows=2)
    index(source, atlas=tmp_path / "fresh", dataset="opencell", request=OTHER)
    fresh = Store.open(tmp_path / "fresh")
    now = encoders.current(fresh, "fov")
    assert now is not None
    assert vectors(store, new.table) == vectors(fresh, now.table)


def test_only_what_is_missing_or_changed_is_embedded(atlas: Path, store: Store, source: Path) -> None:
    embed(atlas=atlas, request=OTHER)
    embed(atlas=atlas, request=EncoderRequest(mapping="natural"))
    write_field(source, 6)
    write_field(source, 2, pixels(42))
    index(source, atlas=atlas, dataset="opencell")
    other = next(e for e in encoders.stored_encoders(store) if e.spec.mapping == "random")
    before = vectors(store, other.table)
    summary = reembed(atlas=atlas, encoder=other.fingerprint[:12])
    assert (summary.embedded, summary.skipped) == (2, 5)
    after = vectors(store, other.table)
    assert {i for i in after if after[i] != before.get(i)} == {id_of(2), id_of(6)}
    check_whole(store)


def test_vectors_that_are_lost_are_made_again_by_the_encoder_in_use(atlas: Path, store: Store) -> None:
    now = encoders.current(store, "fov")
    assert now is not None
    before = contents(store)
    with store.folder.writer("test"):
        store.delete(now.table, [id_of(1), id_of(4)])
    summary = reembed(atlas=atlas)
    assert (summary.embedded, summary.skipped) == (2, 4)
    assert contents(store) == before


def test_several_that_were_begun_are_named_and_one_can_be_chosen(atlas: Path, store: Store) -> None:
    first, second = begin(store, seed=3), begin(store, seed=4)
    with pytest.raises(InputError, match="several fov encoders are being built; name one with --encoder: ") as caught:
        reembed(atlas=atlas)
    assert first.fingerprint[:12] in str(caught.value)
    reembed(atlas=atlas, encoder=second.fingerprint[:8])
    now = encoders.current(store, "fov")
    assert now is not None
    assert now.fingerprint == second.fingerprint


def test_an_encoder_that_nobody_knows_is_refused(atlas: Path, store: Store) -> None:
    before = versions(store)
    with pytest.raises(UnknownNameError, match=r"unknown encoder 'nobody\.knows'"):
        reembed(atlas=atlas, encoder="nobody.knows")
    assert versions(store) == before


def test_imported_vectors_are_not_stale_and_cannot_be_made(tmp_path: Path, plain: None) -> None:
    np.savez(tmp_path / "v.npz", ids=np.array(["x"]), vectors=np.ones((1, 3), np.float32))
    import_embeddings(tmp_path / "v.npz", atlas=tmp_path / "atlas", name="elsewhere")
    with pytest.raises(InputError, match="no encoder at level fov or cell whose images could be embedded"):
        reembed(atlas=tmp_path / "atlas")
    with pytest.raises(InputError, match="encoder elsewhere was imported, so no image can be embedded with it"):
        reembed(atlas=tmp_path / "atlas", encoder="elsewhere")


def test_fields_that_were_only_searched_for_cells_stay_without_vectors(tmp_path: Path, plain: None) -> None:
    folder = write_masked(tmp_path / "fields")
    request = EncoderRequest(crop=CropPlan(size_px=9))
    atlas = tmp_path / "atlas"
    index(folder, atlas=atlas, dataset="manifest", level="cell", request=request)
    write_field(tmp_path / "whole", 0)
    index(tmp_path / "whole", atlas=atlas, dataset="opencell")
    assert reembed(atlas=atlas).embedded == 0
    store = Store.open(atlas)
    new = begin(store)
    assert reembed(atlas=atlas).embedded == 1
    assert list(vectors(store, new.table)) == [id_of(0)]


def test_an_encoder_of_whole_images_does_not_take_cells_of_fields(tmp_path: Path, plain: None) -> None:
    folder = write_masked(tmp_path / "fields")
    atlas = tmp_path / "atlas"
    index(folder, atlas=atlas, dataset="manifest", level="cell", request=EncoderRequest(crop=CropPlan(size_px=9)))
    store = Store.open(atlas)
    now = encoders.current(store, "cell")
    assert now is not None
    with store.folder.writer("finetune"):
        encoders.put(store, StoredEncoder("cell", now.spec.with_changes(crop=None), "building"))
    with pytest.raises(InputError, match=r"embeds whole images and cannot cut cells; add one that does"):
        reembed(atlas=atlas)


def test_queries_answer_from_the_encoder_before_until_the_switch(atlas: Path, store: Store, between: Any) -> None:
    before = encoders.current(store, "fov")
    assert before is not None
    new = begin(store)
    asked: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        held = open_atlas(atlas)
        while not stop.is_set():
            hits = held.neighbors(id=id_of(1), k=3, exclude="self")
            assert hits.num_rows == 3
            asked.append(json.dumps(context(hits)["encoder"]))

    reader = threading.Thread(target=ask)

    def wait_for_an_answer() -> None:
        n = len(asked)
        while len(asked) < n + 2 and reader.is_alive():
            stop.wait(0.005)

    between(3, wait_for_an_answer)
    reader.start()
    try:
        reembed(atlas=atlas, commit_rows=1)
    finally:
        n_before_the_end = len(asked)
        wait_for_an_answer()
        stop.set()
        reader.join()
    assert n_before_the_end >= 2
    assert before.fingerprint in asked[0]
    assert new.fingerprint in asked[-1]
    switched = [new.fingerprint in encoder for encoder in asked]
    assert switched == sorted(switched)


def test_images_that_are_indexed_meanwhile_have_their_vectors_before_the_switch(
    atlas: Path, store: Store, source: Path, between: Any
) -> None:
    begin(store)

    def bring() -> None:
        write_field(source, 6)
        write_field(source, 7)
        assert index(source, atlas=atlas, dataset="opencell").embedded == 2

    batches = between(3, bring)
    summary = reembed(atlas=atlas, commit_rows=2)
    assert (sum(batches), summary.embedded) == (8, 8)
    check_whole(store)


def test_images_of_another_folder_that_are_indexed_meanwhile_are_read_from_there(
    atlas: Path, store: Store, tmp_path: Path, between: Any
) -> None:
    begin(store)
    write_field(tmp_path / "elsewhere", 9)
    between(1, lambda: index(tmp_path / "elsewhere", atlas=atlas, dataset="opencell", name="more"))
    summary = reembed(atlas=atlas)
    assert (summary.embedded, summary.quarantined) == (7, [])
    check_whole(store)


def test_images_that_are_pruned_meanwhile_leave_no_vector(
    atlas: Path, store: Store, source: Path, between: Any
) -> None:
    new = begin(store)

    def prune() -> None:
        (source / name_of(0)).unlink()
        (source / name_of(1)).unlink()
        index(source, atlas=atlas, dataset="opencell", prune=True)

    between(1, prune)
    summary = reembed(atlas=atlas, commit_rows=4)
    assert summary.embedded == 4
    assert list(vectors(store, new.table)) == [id_of(n) for n in (2, 3, 4, 5)]
    assert summary.quarantined == []
    check_whole(store)


def test_a_vector_that_is_pruned_after_its_commit_is_gone_too(
    atlas: Path, store: Store, source: Path, between: Any
) -> None:
    begin(store)

    def prune() -> None:
        (source / name_of(0)).unlink()
        index(source, atlas=atlas, dataset="opencell", prune=True)

    between(2, prune)
    assert reembed(atlas=atlas, commit_rows=1).fovs == 5
    check_whole(store)


def test_cells_that_are_found_anew_meanwhile_leave_no_vector_of_before(
    tmp_path: Path, plain: None, between: Any
) -> None:
    folder = write_masked(tmp_path / "fields")
    atlas = tmp_path / "atlas"
    index(folder, atlas=atlas, dataset="manifest", level="cell", request=EncoderRequest(crop=CropPlan(size_px=9)))
    store = Store.open(atlas)
    new = begin(store, "cell")
    before = store.read("cells", ["id"])["id"].to_pylist()

    def search_again() -> None:
        write_mask(folder / "a_mask.tif", {3: (2, 2, 20, 18), 9: (30, 30, 44, 40)})
        index(folder, atlas=atlas, dataset="manifest", resegment=True)

    between(1, search_again)
    reembed(atlas=atlas)
    now = store.read("cells", ["id"])["id"].to_pylist()
    assert now != before
    assert set(MASKS["a"]) != {3, 9}
    assert list(vectors(store, new.table)) == now
    check_whole(store, "cell")


def test_labels_that_change_meanwhile_stay(atlas: Path, store: Store, source: Path, between: Any) -> None:
    begin(store)
    write_field(source, 0, pixels(90))  # so that the re-embedding has something of its own to say of this row

    def label() -> None:
        (source / name_of(0)).rename(source.parent / "away.tif")
        write_annotations(source, dict.fromkeys(range(6), "chromatin"))
        index(source, atlas=atlas, dataset="opencell")
        (source.parent / "away.tif").rename(source / name_of(0))
        rows = store.read_rows("fovs", [id_of(0)]).to_pylist()
        with store.folder.writer("test"):
            store.upsert("fovs", pa.Table.from_pylist([{**rows[0], "localizations": ["golgi"]}], schema=FOVS))

    between(1, label)
    reembed(atlas=atlas)
    rows = {row["id"]: row for row in store.read("fovs").to_pylist()}
    assert rows[id_of(0)]["localizations"] == ["golgi"]
    assert {tuple(rows[id_of(n)]["localizations"]) for n in range(1, 6)} == {("chromatin",)}
    check_whole(store)


def test_a_file_that_changes_while_it_waits_is_embedded_as_it_is_in_the_end(
    atlas: Path, store: Store, source: Path, between: Any, tmp_path: Path
) -> None:
    new = begin(store)

    def change() -> None:
        write_field(source, 0, pixels(91))
        index(source, atlas=atlas, dataset="opencell")

    between(1, change)
    assert reembed(atlas=atlas, commit_rows=4).embedded == 6
    check_whole(store)
    index(source, atlas=tmp_path / "fresh", dataset="opencell", request=OTHER)
    fresh = Store.open(tmp_path / "fresh")
    now = encoders.current(fresh, "fov")
    assert now is not None
    assert vectors(store, new.table) == vectors(fresh, now.table)


def test_channels_that_are_declared_anew_meanwhile_make_another_vector(
    tmp_path: Path, plain: None, between: Any
) -> None:
    folder = tmp_path / "images"
    manifest = folder / "images.csv"
    for n in range(3):
        write_field(folder, n)

    def declare(channels: str) -> None:
        manifest.write_text("id,path,channels\n" + "".join(f"{n},{name_of(n)},{channels}\n" for n in range(3)))
        index(manifest, atlas=tmp_path / "atlas", dataset="manifest")

    declare("protein;nucleus")
    store = Store.open(tmp_path / "atlas")
    new = begin(store)
    between(2, lambda: declare("nucleus;protein"))
    reembed(atlas=tmp_path / "atlas", commit_rows=1)
    index(manifest, atlas=tmp_path / "fresh", dataset="manifest", request=OTHER)
    fresh = Store.open(tmp_path / "fresh")
    now = encoders.current(fresh, "fov")
    assert now is not None
    assert vectors(store, new.table) == vectors(fresh, now.table)


def test_an_image_that_is_repaired_meanwhile_is_tried_again_before_the_switch(
    atlas: Path, store: Store, source: Path, between: Any
) -> None:
    begin(store)
    (source / name_of(0)).write_bytes(b"no image")

    def repair() -> None:
        assert store.count("quarantine") == 1
        write_field(source, 0, pixels(92))
        index(source, atlas=atlas, dataset="opencell")

    between(3, repair)
    summary = reembed(atlas=atlas, commit_rows=1)
    assert (summary.embedded, summary.quarantined, store.count("quarantine")) == (6, [], 0)
    check_whole(store)


def test_an_image_that_is_repaired_before_it_is_put_in_quarantine_is_not_put_there(
    atlas: Path, store: Store, source: Path, between: Any
) -> None:
    begin(store)
    (source / name_of(0)).write_bytes(b"no image")

    def repair() -> None:
        write_field(source, 0, pixels(93))
        index(source, atlas=atlas, dataset="opencell")

    between(1, repair)
    summary = reembed(atlas=atlas, commit_rows=4)
    assert (summary.embedded, summary.quarantined, store.count("quarantine")) == (6, [], 0)
    check_whole(store)


def test_an_encoder_that_another_took_the_place_of_meanwhile_does_not_come_back_by_filling_gaps(
    atlas: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = encoders.current(store, "fov")
    assert now is not None
    with store.folder.writer("test"):
        store.delete(now.table, [id_of(1)])
    np.savez(tmp_path / "v.npz", ids=np.array(["x"]), vectors=np.ones((1, 3), np.float32))

    class Slow(PlainEncoder):
        def encode_prepared(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
            with store.folder.writer("test"):
                new = now.spec.with_changes(mapping="random", mapping_seed=8)
                encoders.switch_to(store, StoredEncoder("fov", new, "building"))
            return super().encode_prepared(prepared)

    monkeypatch.setattr("locatlas.indexer.job.load_encoder", Slow)
    assert reembed(atlas=atlas).embedded == 1
    after = encoders.current(store, "fov")
    assert after is not None
    assert after.spec.mapping_seed == 8


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
