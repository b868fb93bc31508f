"""An atlas, or its images, in another place: everything that needs no image works, and roots can be told anew."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer import declared_roots
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.indices.build import build
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas
from tests.indexer.made import contents, id_of, name_of, versions, write_collection, write_field


@pytest.fixture
def moved(atlas: Path, source: Path, tmp_path: Path) -> Path:
    """The atlas and its images under other names, and nothing under the old ones."""
    source.rename(tmp_path / "images elsewhere")
    atlas.rename(tmp_path / "atlas renamed")
    return tmp_path / "atlas renamed"


def test_neighbors_sweep_and_faiss_index_are_those_of_before(
    atlas: Path, source: Path, tmp_path: Path, one_thread: None
) -> None:
    store = Store.open(atlas)
    encoder = encoders.current(store, "fov")
    assert encoder is not None
    build(store, encoder, "flat")
    before = open_atlas(atlas)
    hits, sweep = before.neighbors(id=id_of(2), k=3, exact=False), before.sweep(ks=[1, 2])
    source.rename(tmp_path / "images elsewhere")
    atlas.rename(tmp_path / "atlas renamed")
    after = open_atlas(tmp_path / "atlas renamed")
    assert after.neighbors(id=id_of(2), k=3, exact=False).equals(hits)  # refused without a valid index
    assert after.sweep(ks=[1, 2]).to_dict() == sweep.to_dict()


def test_images_are_embedded_again_once_the_root_is_told(moved: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"source: not there, though images of this atlas lie in it \(root 'opencell'\)"
    ):
        embed(atlas=moved, request=EncoderRequest(mapping="replicate"))
    summary = maintain(atlas=moved, roots={"opencell": tmp_path / "images elsewhere"})
    assert summary.roots == {"opencell": str(tmp_path / "images elsewhere")}
    done = embed(atlas=moved, request=EncoderRequest(mapping="replicate"))
    assert (done.embedded, done.quarantined) == (6, [])


def test_indexing_from_the_new_place_changes_no_row_and_no_vector_once_the_root_is_told(
    moved: Path, tmp_path: Path
) -> None:
    before = contents(Store.open(moved))
    maintain(atlas=moved, roots={"opencell": tmp_path / "images elsewhere"})
    done = index(tmp_path / "images elsewhere", atlas=moved, dataset="opencell")
    assert (done.embedded, done.skipped, done.gone) == (0, 6, [])
    assert contents(Store.open(moved)) == {**before, "roots": {"opencell": str(tmp_path / "images elsewhere")}}


def test_indexing_from_the_new_place_without_telling_finds_the_same_images_by_their_bytes(
    moved: Path, tmp_path: Path
) -> None:
    store = Store.open(moved)
    table = next(t for t in store.tables() if t.startswith("emb_"))
    before = store.read_vectors(table)
    done = index(tmp_path / "images elsewhere", atlas=moved, dataset="opencell")
    assert (done.embedded, done.gone) == (0, [])
    after = store.read_vectors(table)
    assert after.ids == before.ids
    assert np.array_equal(after.vectors, before.vectors)
    roots = store.folder.info()["roots"]
    assert {roots[name] for name in store.read("fovs", ["root"])["root"].to_pylist()} == {
        str(tmp_path / "images elsewhere")
    }


def test_a_folder_that_holds_none_of_the_images_or_others_is_refused(moved: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for n in range(6):
        write_field(tmp_path / "others", n, np.full((2, 40, 40), n + 1, np.uint16))
    store, before = Store.open(moved), Store.open(moved).folder.info()
    written = versions(store)
    for given, why in (
        ({"opencell": tmp_path / "empty"}, rf"empty: holds none of the 6 files .*, e\.g\. {name_of(0)}; it stays"),
        ({"opencell": tmp_path / "others"}, "its files are not those of root 'opencell'"),
        ({"opencell": tmp_path / "nowhere"}, "nowhere: no such folder; root 'opencell' stays"),
    ):
        with pytest.raises(InputError, match=why) as caught:
            maintain(atlas=moved, roots=given)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnknownNameError, match=r"unknown root 'hpa'.*known: opencell"):
        maintain(atlas=moved, roots={"hpa": tmp_path / "empty"})
    assert store.folder.info() == before
    assert {t: v for t, v in versions(store).items() if t != "runs"} == {
        t: v for t, v in written.items() if t != "runs"
    }


def test_two_roots_never_share_a_folder(atlas: Path, tmp_path: Path) -> None:
    other = write_collection(tmp_path / "second", range(6, 8))
    index(other, atlas=atlas, dataset="opencell", name="second")
    with pytest.raises(InputError, match="second: is root 'second' already; root 'opencell' stays"):
        maintain(atlas=atlas, roots={"opencell": other})


def test_images_that_are_missing_or_changed_in_the_new_place_are_told(
    moved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "images elsewhere"
    (folder / name_of(0)).unlink()
    write_field(folder, 1, np.full((2, 40, 40), 9, np.uint16))
    maintain(atlas=moved, roots={"opencell": folder})
    assert "1 of 6 files of root 'opencell' are not there, 1 of 5 that were read have other bytes" in caplog.text


def test_a_root_that_is_where_it_was_is_not_looked_at(
    atlas: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declared_roots, "_look", lambda *_, **__: pytest.fail("looked"))
    assert maintain(atlas=atlas, roots={"opencell": source}).roots == {}


def test_a_copy_of_an_atlas_lives_on_beside_the_first(atlas: Path, tmp_path: Path) -> None:
    shutil.copytree(atlas, tmp_path / "copy")
    before = contents(Store.open(atlas))
    store = Store.open(tmp_path / "copy")
    store.delete("fovs", [id_of(0)])
    assert contents(Store.open(atlas)) == before
