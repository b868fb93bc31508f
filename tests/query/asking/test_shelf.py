"""What is loaded: vectors whose images the atlas does not hold are left out and told, whoever made them."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

import locatlas
from locatlas.indexer.store.encoders import StoredEncoder, put, switch_to
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.shelf import KEPT_OTHERS, Shelf
from tests.query.made_atlas import DIM, encoder, make_atlas

GONE = ["d/00/1", "d/22/0"]


@pytest.mark.parametrize("imported", [True, False])
def test_vectors_without_an_image_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, imported: bool
) -> None:
    monkeypatch.setattr(StoredEncoder, "is_imported", property(lambda _: imported))
    path = make_atlas(tmp_path / "atlas")
    atlas = locatlas.open(path)
    whole = atlas.neighbors(id="d/10/0", level="cell", k=60, exclude="self")
    assert set(whole["id"].to_pylist()) > set(GONE)
    store = Store.open(path)
    with store.folder.writer("a test"):
        store.delete("cells", GONE)
    found = atlas.neighbors(id="d/10/0", level="cell", k=50, exclude="self")
    expected = [i for i in whole["id"].to_pylist() if i not in GONE]
    assert found["id"].to_pylist() == expected[:50]
    said = "left out: 2 vectors by made without an image in the atlas; `locatlas verify` says what to do"
    assert atlas._shelf.load("cell", None).notes() == [said]


def with_encoders(store: Store, n: int) -> list[StoredEncoder]:
    """So many further encoders with vectors of all fields, each current for a while."""
    ids = store.read("fovs", ["id"])["id"].to_pylist()
    vectors = np.random.default_rng(0).standard_normal((len(ids), DIM)).astype(np.float32)
    made = [StoredEncoder("fov", encoder().with_changes(weights_sha256=f"seed:{i}"), "superseded") for i in range(n)]
    with store.folder.writer("a test"):
        for one in made:
            store.put_embeddings("fov", one.fingerprint, ids, ["x"] * len(ids), vectors)
            put(store, one)
    return made


def test_a_shelf_that_is_asked_for_months_forgets_encoders_that_were_superseded(tmp_path: Path) -> None:
    store = Store.open(make_atlas(tmp_path / "atlas"))
    others = with_encoders(store, KEPT_OTHERS + 3)
    shelf = Shelf(store)
    first = weakref.ref(shelf.load("fov", None).view)
    cells = shelf.load("cell", None)
    for one in others:
        with store.folder.writer("a test"):
            switch_to(store, one)
        shelf.load("fov", None)
    gc.collect()
    assert first() is None
    assert len(shelf._kept) == KEPT_OTHERS + 2  # the one that is asked, and the cells'
    assert shelf.load("cell", None) is cells  # current, so it stays however long nobody asked
    last = shelf.load("fov", others[-2].fingerprint)
    assert shelf.load("fov", others[0].fingerprint).encoder.fingerprint == others[0].fingerprint  # read again
    assert shelf.load("fov", others[-2].fingerprint) is last


def test_vectors_that_were_dropped_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredEncoder, "is_imported", property(lambda _: False))  # those of others stay
    store = Store.open(make_atlas(tmp_path / "atlas"))
    (other,) = with_encoders(store, 1)
    shelf = Shelf(store)
    view = weakref.ref(shelf.load("fov", other.fingerprint).view)
    locatlas.maintain(atlas=tmp_path / "atlas", drop_superseded=True)
    assert not store.has(other.table)
    shelf.load("fov", None)
    gc.collect()
    assert view() is None
