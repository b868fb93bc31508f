"""A second encoder is built beside the first, which answers until the last vector is there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.errors import EncoderMismatchError, InputError, UnknownNameError
from locatlas.indexer import follow as follow_module
from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.index import index
from locatlas.indexer.maintain import drop_vectors
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas
from tests.indexer.made import contents, id_of, name_of, pixels, vectors, versions, write_field
from tests.indexer.store.test_encoders import spec

OTHER = EncoderRequest(mapping="random", seed=3)


class StopError(Exception):
    pass


@pytest.fixture
def bare(atlas: Path, store: Store) -> Path:
    """Images without an encoder, as fields are that were only searched for cells."""
    first = encoders.current(store, "fov")
    assert first is not None
    with store.folder.writer("a test"):
        drop_vectors(store, first)
        encoders.forget(store, first)
    return atlas


def states(store: Store) -> dict[str, str]:
    return {e.spec.mapping: e.state for e in encoders.stored_encoders(store)}


def test_the_first_encoder_stays_current_until_the_last_vector_and_then_both_can_be_queried(
    atlas: Path, store: Store
) -> None:
    first = encoders.current(store, "fov")
    assert first is not None
    before, looked = vectors(store, first.table), []

    def look(what: str, done: int, total: int) -> None:
        now = encoders.current(store, "fov")
        assert now is not None
        looked.append((what, done, total, now.fingerprint))
        hits = open_atlas(atlas).neighbors(id=id_of(1), k=2, exclude="self")
        assert hits.num_rows == 2

    summary = embed(atlas=atlas, request=OTHER, progress=look, commit_rows=2)
    assert (summary.embedded, summary.skipped) == (6, 0)
    assert {fingerprint for *_, fingerprint in looked} == {first.fingerprint}
    assert [done for what, done, *_ in looked if what == "embedding"][-1] == 6
    assert states(store) == {"natural": "superseded", "random": "current"}
    assert vectors(store, first.table) == before
    second = encoders.current(store, "fov")
    assert second is not None
    assert list(vectors(store, second.table)) == list(before)
    for one in (first, second):
        ids, held = open_atlas(atlas).embeddings(encoder=one.fingerprint[:12])
        assert {i: v.tobytes() for i, v in zip(ids, held, strict=True)} == vectors(store, one.table)


def test_rows_of_images_are_not_written_by_another_encoder(atlas: Path, store: Store) -> None:
    version = store.version("fovs")
    embed(atlas=atlas, request=OTHER)
    assert store.version("fovs") == version


def test_a_second_run_does_nothing(atlas: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(atlas=atlas, request=OTHER)
    before = versions(store)
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", lambda _: pytest.fail("nothing is to be embedded"))
    for request in (OTHER, EncoderRequest()):
        assert embed(atlas=atlas, request=request).skipped == 6
    assert versions(store) == before


def test_an_encoder_that_was_superseded_becomes_current_again_without_embedding(atlas: Path, store: Store) -> None:
    embed(atlas=atlas, request=OTHER)
    summary = embed(atlas=atlas, request=EncoderRequest(mapping="natural"))
    assert (summary.embedded, summary.skipped) == (0, 6)
    assert states(store) == {"natural": "current", "random": "superseded"}


def test_indexing_goes_on_with_the_encoder_that_is_current(atlas: Path, store: Store, source: Path) -> None:
    embed(atlas=atlas, request=OTHER)
    write_field(source, 6)
    assert index(source, atlas=atlas, dataset="opencell").embedded == 1
    found = encoders.current(store, "fov")
    assert found is not None
    assert found.spec.mapping == "random"
    assert list(vectors(store, found.table)) == [id_of(n) for n in range(7)]
    with pytest.raises(EncoderMismatchError):
        index(source, atlas=atlas, dataset="opencell", request=EncoderRequest(mapping="natural"))


def test_images_that_came_while_an_encoder_was_built_are_made_before_it_is_current(
    atlas: Path, store: Store, source: Path
) -> None:
    def stop(_: str, done: int, __: int) -> None:
        if done >= 4:
            raise StopError

    with pytest.raises(StopError):
        embed(atlas=atlas, request=OTHER, progress=stop, commit_rows=2)
    assert states(store) == {"natural": "current", "random": "building"}
    write_field(source, 6)
    index(source, atlas=atlas, dataset="opencell")
    assert states(store)["random"] == "building"
    summary = embed(atlas=atlas, request=OTHER)
    assert (summary.embedded, summary.skipped) == (5, 2)
    assert states(store) == {"natural": "superseded", "random": "current"}


def test_where_nothing_is_current_what_was_embedded_without_a_switch_answers_and_this_is_told(
    bare: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.open(bare)
    summary = embed(atlas=bare, request=OTHER, switch=False)
    assert (summary.embedded, summary.encoders["fov"].state) == (6, "current")
    assert states(store) == {"random": "current"}
    assert "nothing was current at level fov, so that locatlas_pico.synthetic (" in caplog.text
    assert open_atlas(bare).neighbors(id=id_of(1), k=2, exclude="self").num_rows == 2
    caplog.clear()
    embed(atlas=bare, request=EncoderRequest(mapping="natural"), switch=False)
    assert (states(store), caplog.text) == ({"random": "current", "natural": "beside"}, "")


def test_where_nothing_is_current_a_run_that_was_stopped_is_one_to_be_continued(bare: Path) -> None:
    store = Store.open(bare)

    def stop(_: str, done: int, __: int) -> None:
        if done >= 4:
            raise StopError

    with pytest.raises(StopError):
        embed(atlas=bare, request=OTHER, switch=False, progress=stop, commit_rows=2)
    assert states(store) == {"random": "building"}
    with pytest.raises(InputError, match="at level fov is not complete"):
        encoders.find(store, "fov", None)
    summary = embed(atlas=bare, request=OTHER, switch=False)
    assert (summary.skipped, states(store)) == (2, {"random": "current"})


def test_what_others_made_current_before_the_last_vector_stays_so(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(bare)
    first = StoredEncoder("fov", spec(), "current")
    drop = follow_module.drop_outdated

    def late(job: Any, encoder: Any, missing: Any) -> None:
        encoders.put(job.store, first)  # what an import ends with
        drop(job, encoder, missing)

    monkeypatch.setattr(follow_module, "drop_outdated", late)
    embed(atlas=bare, request=OTHER, switch=False)
    assert encoders.current(store, "fov") == first
    assert states(store)["random"] == "beside"


def test_a_file_that_changed_since_is_read_anew_and_the_first_encoder_catches_up(
    atlas: Path, store: Store, source: Path
) -> None:
    write_field(source, 2, pixels(42))
    embed(atlas=atlas, request=OTHER)
    second = encoders.current(store, "fov")
    assert second is not None
    digests = {r["id"]: r["source_digest"] for r in store.read("fovs").to_pylist()}
    assert {r["id"]: r["source_digest"] for r in store.read(second.table).to_pylist()} == digests
    assert embed(atlas=atlas, request=EncoderRequest(mapping="natural")).embedded == 1


def test_an_image_that_cannot_be_read_any_more_is_quarantined_and_holds_the_switch_back(
    atlas: Path, store: Store, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source / name_of(0)).write_bytes(b"no image")
    (source / name_of(1)).unlink()
    summary = embed(atlas=atlas, request=OTHER)
    assert (summary.embedded, [r.source for r in summary.quarantined]) == (4, [name_of(0), name_of(1)])
    assert states(store) == {"natural": "current", "random": "beside"}
    new = next(e for e in encoders.stored_encoders(store) if e.spec.mapping == "random").fingerprint[:12]
    assert "2 of 6 images that have a vector by locatlas_pico" in caplog.text
    assert f"--level fov --encoder {new}` switches in spite of it" in caplog.text
    reembed(atlas=atlas, encoder=new)
    assert states(store) == {"natural": "superseded", "random": "current"}
    before = contents(store)
    summary = embed(atlas=atlas, request=OTHER)
    assert (summary.embedded, [r.source for r in summary.quarantined]) == (0, [name_of(0), name_of(1)])
    assert contents(store) == before
    write_field(source, 0)
    write_field(source, 1)
    summary = embed(atlas=atlas, request=OTHER)
    assert (summary.embedded, summary.quarantined, store.count("quarantine")) == (2, [], 0)


def test_a_folder_that_is_not_mounted_stops_the_run_and_changes_nothing(
    atlas: Path, store: Store, source: Path
) -> None:
    before = versions(store)
    away = source.rename(source.parent / "away")
    with pytest.raises(InputError, match=r"source: not there, though images of this atlas lie in it .root 'opencell'."):
        embed(atlas=atlas, request=OTHER)
    assert versions(store) == before
    away.rename(source)
    assert embed(atlas=atlas, request=OTHER).embedded == 6


def test_a_row_whose_path_leaves_its_root_is_not_read(atlas: Path, store: Store, source: Path) -> None:
    (source / name_of(0)).unlink()
    (source.parent / "secret.tif").write_bytes((source / name_of(1)).read_bytes())
    (source / name_of(0)).symlink_to(source.parent / "secret.tif")
    summary = embed(atlas=atlas, request=OTHER)
    assert summary.embedded == 5
    assert [r.reason for r in summary.quarantined] == [f"{id_of(0)}: '{name_of(0)}' leaves its root {source}"]


def test_imported_vectors_cannot_be_continued_by_embedding(atlas: Path, store: Store, tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", ids=np.array([id_of(0)]), vectors=np.ones((1, 3), np.float32))
    import_embeddings(tmp_path / "v.npz", atlas=tmp_path / "other", name="elsewhere")
    with pytest.raises(InputError, match="holds no images at level fov or cell that could be embedded"):
        embed(atlas=tmp_path / "other", request=OTHER)


def test_images_indexed_beside_imported_vectors_get_their_own_encoder(
    tmp_path: Path, source: Path, plain: None
) -> None:
    np.savez(tmp_path / "v.npz", ids=np.array(["x", id_of(0)]), vectors=np.ones((2, 3), np.float32))
    import_embeddings(tmp_path / "v.npz", atlas=tmp_path / "atlas", name="elsewhere", dataset="opencell")
    summary = index(source, atlas=tmp_path / "atlas", dataset="opencell")
    store = Store.open(tmp_path / "atlas")
    assert (summary.embedded, summary.fovs) == (6, 7)
    assert {e.spec.name: e.state for e in encoders.stored_encoders(store)} == {
        "elsewhere": "superseded",
        "locatlas_pico.synthetic": "current",
    }
    assert index(source, atlas=tmp_path / "atlas", dataset="opencell").skipped == 6
    assert embed(atlas=tmp_path / "atlas", request=EncoderRequest()).skipped == 6


def test_a_stain_that_no_image_has_is_refused_before_anything_is_written(atlas: Path, store: Store) -> None:
    before = versions(store)
    said = r"^unknown stain 'nucleuss' \(no image at level fov has it\); known: nucleus, protein$"
    for levels in (("fov",), ("cell", "fov")):
        with pytest.raises(UnknownNameError, match=said):
            embed(atlas=atlas, request=EncoderRequest(mapping="replicate", stains=("nucleuss",)), levels=levels)
    assert versions(store) == before
    assert states(store) == {"natural": "current"}


def test_an_atlas_without_images_is_refused(empty: Store) -> None:
    with pytest.raises(InputError, match="holds no images at level cell that could be embedded"):
        embed(atlas=empty.folder.path, request=EncoderRequest(), levels=(level for level in ("cell",)))


def test_both_levels_are_embedded_each_with_its_own_states(tmp_path: Path, plain: None) -> None:
    folder: Any = tmp_path / "images"
    for n in range(4):
        write_field(folder, n)
    lines = [f"{n},{name_of(n)},nucleus;protein,{'cell' if n % 2 else 'fov'}" for n in range(4)]
    (folder / "images.csv").write_text("\n".join(["id,path,channels,level", *lines]) + "\n")
    summary = index(folder / "images.csv", atlas=tmp_path / "atlas", dataset="manifest")
    assert (summary.fovs, summary.cells, summary.embedded) == (2, 2, 4)
    summary = embed(atlas=tmp_path / "atlas", request=OTHER, levels=("cell",))
    assert (summary.embedded, list(summary.encoders)) == (2, ["cell"])
    store = Store.open(tmp_path / "atlas")
    shown = {(e.level, e.spec.mapping): e.state for e in encoders.stored_encoders(store)}
    assert shown == {("fov", "natural"): "current", ("cell", "natural"): "superseded", ("cell", "random"): "current"}


def test_vectors_in_float16_are_those_of_float32_rounded_and_new_images_follow(
    source: Path, atlas: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed and continued ends with the same bytes, and further images are stored alike."""
    whole = encoders.current(store, "fov")
    assert whole is not None
    half = EncoderRequest(storage="float16")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        calls = iter([Store.put_embeddings, Store.put_embeddings, killed])
        patched.setattr(Store, "put_embeddings", lambda *a, **k: next(calls)(*a, **k))
        with pytest.raises(KeyboardInterrupt):
            embed(atlas=atlas, request=half, commit_rows=2)
    assert embed(atlas=atlas, request=half, commit_rows=2).skipped == 4
    stored = encoders.current(store, "fov")
    assert stored is not None
    assert (stored.spec.storage, stored.spec.with_changes(storage="float32")) == ("float16", whole.spec)
    exact, rounded = (store.read_vectors(e.table) for e in (whole, stored))
    np.testing.assert_array_equal(rounded.vectors, exact.vectors.astype(np.float16).astype(np.float32))
    write_field(source, 6)
    assert index(source, atlas=atlas, dataset="opencell").embedded == 1
    assert embed(atlas=atlas, request=EncoderRequest()).embedded == 0
    assert store.read_vectors(stored.table).vectors.shape == (7, whole.spec.dim)
    assert encoders.current(store, "fov") == stored
