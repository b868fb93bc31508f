"""Images whose files are gone, manifests side by side, plans that an atlas keeps."""

import shutil
from pathlib import Path

import pytest

from locatlas.indexer.embed import embed
from locatlas.indexer.encoders import EncoderRequest, current, stored_encoders
from locatlas.indexer.index import index
from locatlas.indexer.store import Store
from tests.indexer.made import contents, id_of, name_of, vectors, write_collection, write_field


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
