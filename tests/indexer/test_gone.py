"""Images whose files are gone, manifests side by side, plans that an atlas keeps."""

import shutil
from pathlib import Path

import pytest

from locatlas.errors import InputError
from locatlas.indexer import pipeline
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.gone_counts import gone_by_last_look
from locatlas.indexer.index import index
from locatlas.indexer.store.encoders import current, stored_encoders
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas
from tests.indexer.made import PlainEncoder, contents, id_of, name_of, vectors, write_collection, write_field


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_collection(tmp_path / "in", range(4))


def test_images_whose_files_are_gone_are_told_and_stay(source: Path, tmp_path: Path, plain: None) -> None:
    assert index(source, atlas=tmp_path / "a", dataset="opencell").gone == []
    store = Store.open(tmp_path / "a")
    before = contents(store)
    (source / name_of(2)).unlink()
    assert index(source, atlas=tmp_path / "a", dataset="opencell").gone == [id_of(2)]
    assert contents(store) == before


def test_images_that_are_gone_are_in_the_ledger_until_they_are_back(source: Path, tmp_path: Path, plain: None) -> None:
    index(source, atlas=tmp_path / "a", dataset="opencell")
    store = Store.open(tmp_path / "a")
    assert gone_by_last_look(store) == {}
    (source / name_of(2)).rename(tmp_path / "kept.tif")
    index(source, atlas=tmp_path / "a", dataset="opencell")
    runs = store.read("runs").to_pylist()
    assert gone_by_last_look(store) == {("opencell", "fov"): (1, runs[-1]["id"])}
    (told,) = open_atlas(tmp_path / "a").status()["gone"]
    assert (told["dataset"], told["level"], told["images"]) == ("opencell", "fov", 1)
    index(source, atlas=tmp_path / "a", dataset="opencell")
    assert store.read("runs").to_pylist() == runs, "what is known already is not told again"
    (tmp_path / "kept.tif").rename(source / name_of(2))
    index(source, atlas=tmp_path / "a", dataset="opencell")
    assert gone_by_last_look(store)[("opencell", "fov")][0] == 0
    assert open_atlas(tmp_path / "a").status()["gone"] == []


def test_images_that_were_pruned_are_not_told_as_gone(source: Path, tmp_path: Path, plain: None) -> None:
    index(source, atlas=tmp_path / "a", dataset="opencell")
    (source / name_of(2)).unlink()
    index(source, atlas=tmp_path / "a", dataset="opencell")
    index(source, atlas=tmp_path / "a", dataset="opencell", prune=True)
    assert open_atlas(tmp_path / "a").status()["gone"] == []


def test_pruning_removes_row_and_vectors_of_every_encoder(source: Path, tmp_path: Path, plain: None) -> None:
    index(source, atlas=tmp_path / "a", dataset="opencell")
    embed(atlas=tmp_path / "a", request=EncoderRequest(stains=("protein",)))
    store = Store.open(tmp_path / "a")
    (source / name_of(2)).unlink()
    index(source, atlas=tmp_path / "a", dataset="opencell", prune=True)
    left = [id_of(n) for n in (0, 1, 3)]
    assert store.read("fovs")["id"].to_pylist() == left
    tables = [encoder.table for encoder in stored_encoders(store, "fov")]
    assert len(tables) == 2
    assert all(list(vectors(store, table)) == left for table in tables)
    assert index(source, atlas=tmp_path / "a", dataset="opencell", prune=True).gone == []


def test_another_data_set_below_the_same_folder_is_not_gone(source: Path, tmp_path: Path, plain: None) -> None:
    index(source, atlas=tmp_path / "a", dataset="opencell", name="first")
    shutil.rmtree(source)
    write_collection(tmp_path / "more", range(2))
    assert index(tmp_path / "more", atlas=tmp_path / "a", dataset="opencell", name="second", prune=True).gone == []
    assert Store.open(tmp_path / "a").count("fovs") == 6


def test_a_second_manifest_of_a_folder_leaves_the_quarantine_of_the_first(tmp_path: Path, plain: None) -> None:
    write_field(tmp_path, 0)
    header = "id,path,channels"
    (tmp_path / "m1.csv").write_text(f"{header}\nx,missing.tif,nucleus;protein\na,{name_of(0)},nucleus;protein\n")
    (tmp_path / "m2.csv").write_text(f"{header}\nb,{name_of(0)},nucleus;protein\n")
    (rejected,) = index(tmp_path / "m1.csv", atlas=tmp_path / "a", dataset="manifest").quarantined
    index(tmp_path / "m2.csv", atlas=tmp_path / "a", dataset="manifest")
    held = Store.open(tmp_path / "a").read("quarantine").to_pylist()
    assert [row["source"] for row in held] == [rejected.source]


def test_another_precision_keeps_the_plan_that_the_atlas_has(source: Path, tmp_path: Path, plain: None) -> None:
    request = EncoderRequest(mapping="replicate", stains=("protein",), precision="fp32")
    index(source, atlas=tmp_path / "a", dataset="opencell", request=request)
    embed(atlas=tmp_path / "a", request=EncoderRequest(precision="bf16"))
    now = current(Store.open(tmp_path / "a"), "fov")
    assert now is not None
    assert (now.spec.mapping, now.spec.stains, now.spec.precision) == ("replicate", ("protein",), "bf16")


def test_a_missing_file_is_not_taken_for_moved_when_another_image_has_its_id(tmp_path: Path, plain: None) -> None:
    for folder, n in (("m1", 1), ("m2", 2)):
        path = write_field(tmp_path / folder, n)
        (tmp_path / folder / "m.csv").write_text(f"id,path,channels,protein\nx,{path.name},nucleus;protein,P{n}\n")
    index(tmp_path / "m1" / "m.csv", atlas=tmp_path / "a", dataset="manifest")
    (tmp_path / "m1").rename(tmp_path / "elsewhere")
    (rejected,) = index(tmp_path / "m2" / "m.csv", atlas=tmp_path / "a", dataset="manifest").quarantined
    assert "already belongs to" in rejected.reason
    assert "(not there now)" in rejected.reason
    assert Store.open(tmp_path / "a").read("fovs", ["id", "protein"]).to_pylist() == [
        {"id": "manifest/x", "protein": "P1"}
    ]
    moved = index(tmp_path / "elsewhere" / "m.csv", atlas=tmp_path / "a", dataset="manifest")
    assert (moved.embedded, moved.updated, moved.quarantined) == (0, 1, [])


def test_a_reading_without_any_label_does_not_erase_those_there_are(source: Path, tmp_path: Path, plain: None) -> None:
    index(source, atlas=tmp_path / "a", dataset="opencell")
    before = contents(Store.open(tmp_path / "a"))
    (source / "opencell-localization-annotations.csv").unlink()
    with pytest.raises(InputError, match="take away the localizations of 4 images"):
        index(source, atlas=tmp_path / "a", dataset="opencell")
    assert contents(Store.open(tmp_path / "a")) == before


def test_a_root_that_was_declared_once_need_not_be_named_again(tmp_path: Path, plain: None) -> None:
    path = write_field(tmp_path / "images", 1)
    (tmp_path / "tables").mkdir()
    manifest = tmp_path / "tables" / "m.csv"
    manifest.write_text(f"id,path,channels\nx,{path},nucleus;protein\n")
    first = index(str(manifest), atlas=str(tmp_path / "a"), dataset="manifest", roots=[tmp_path / "images"])
    again = index(manifest, atlas=tmp_path / "a", dataset="manifest")
    assert (first.embedded, again.skipped, again.quarantined) == (1, 1, [])


def test_what_a_slow_encoder_made_is_committed_between_chunks(
    source: Path, tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "COMMIT_S", -1.0)
    monkeypatch.setattr(pipeline, "BATCH_IMAGES", 1)
    index(source, atlas=tmp_path / "slow", dataset="opencell")
    monkeypatch.undo()
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    index(source, atlas=tmp_path / "quick", dataset="opencell")
    slow, quick = Store.open(tmp_path / "slow"), Store.open(tmp_path / "quick")
    assert contents(slow) == contents(quick)
    assert slow.version("fovs") == quick.version("fovs") + 3
