"""What is loaded: vectors whose images the atlas does not hold are left out and told, whoever made them."""

from pathlib import Path

import pytest

import locatlas
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from tests.query.made_atlas import make_atlas

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
