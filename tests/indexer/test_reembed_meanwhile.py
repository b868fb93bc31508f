"""What others delete, change and bring while a re-embedding runs is in the atlas at its end."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from locatlas.indexer.embed import reembed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.schema import FOVS
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from locatlas.query.answers.tables import context
from locatlas.query.atlas import open_atlas
from tests.indexer.made import PlainEncoder, id_of, name_of, pixels, vectors, write_annotations, write_field
from tests.indexer.masked import MASKS, write_mask, write_masked
from tests.indexer.test_reembed import OTHER, begin, between, check_whole

__all__ = ["between"]


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


@pytest.mark.parametrize(("commit_rows", "moment", "in_quarantine"), [(1, 3, 1), (4, 1, 0)], ids=["after", "before"])
def test_an_image_that_is_repaired_after_or_before_it_is_put_in_quarantine_is_not_left_there(
    atlas: Path, store: Store, source: Path, between: Any, commit_rows: int, moment: int, in_quarantine: int
) -> None:
    begin(store)
    (source / name_of(0)).write_bytes(b"no image")

    def repair() -> None:
        assert store.count("quarantine") == in_quarantine
        write_field(source, 0, pixels(92))
        index(source, atlas=atlas, dataset="opencell")

    between(moment, repair)
    summary = reembed(atlas=atlas, commit_rows=commit_rows)
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
