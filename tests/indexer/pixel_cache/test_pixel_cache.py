"""Decoded images that are kept: the same pixels without decoding, or not used at all."""

import json
import os
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import locatlas
from locatlas.errors import AtlasLockedError
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.files.images import read_image
from locatlas.indexer.index import index
from locatlas.indexer.maintain import maintain
from locatlas.indexer.pixel_cache import reading, run, writing
from locatlas.indexer.pixel_cache.reading import PixelCache
from locatlas.indexer.pixel_cache.run import pack
from locatlas.indexer.pixel_cache.segments import ENTRY, entry_key, segments
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.rows import record_from_row
from locatlas.indexer.store.tables import Store
from locatlas.indexer.training.images import StoredImages
from locatlas.models import registry
from locatlas.models.crops import CropPlan
from tests.indexer.made import EDGE_PX, PlainEncoder, contents, id_of, indexed, name_of, pixels, write_field
from tests.indexer.masked import write_masked

OTHER = EncoderRequest(mapping="random", passes="joint", seed=3)
FIELD_BYTES = 2 * EDGE_PX * EDGE_PX * 2


def folder_of(atlas: Path) -> Path:
    return atlas / "cache" / "images"


@pytest.fixture
def atlas(plain: None, tmp_path: Path) -> Path:
    """Six fields of OpenCell."""
    return indexed(tmp_path)


@pytest.fixture
def source(atlas: Path) -> Path:
    """Their images."""
    return atlas.with_name("source")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was decoded to be embedded or trained on."""
    counted: Counter[str] = Counter()
    real = reading.read_image

    def read(record: ImageRecord) -> Any:
        counted[record.sources[0].path.name] += 1
        return real(record)

    monkeypatch.setattr(reading, "read_image", read)
    return counted


def rows(atlas: Path, level: str = "fov") -> list[dict[str, Any]]:
    return Store.open(atlas).read({"fov": "fovs", "cell": "cells"}[level]).to_pylist()


def embedded(atlas: Path, request: EncoderRequest = OTHER, level: str = "fov") -> dict[str, Any]:
    embed(atlas=atlas, request=request, levels=(level,))
    return contents(Store.open(atlas))


def test_vectors_are_the_same_bit_for_bit_and_nothing_is_decoded(
    atlas: Path, tmp_path: Path, decoded: Counter[str]
) -> None:
    without = embedded(Path(shutil.copytree(atlas, tmp_path / "without")))
    assert sum(decoded.values()) == 6
    decoded.clear()
    summary = pack(atlas=atlas)
    assert (summary.packed, summary.images, summary.changed, summary.unreadable) == (6, 6, 0, 0)
    assert summary.written_bytes == 6 * FIELD_BYTES
    assert embedded(atlas) == without
    assert not decoded


def test_how_many_images_came_from_the_pack_is_told_and_kept_in_the_ledger(atlas: Path, source: Path) -> None:
    first = embed(atlas=atlas, request=EncoderRequest(mapping="random", seed=4))
    assert (first.embedded, first.from_pack) == (6, 0)
    pack(atlas=atlas)
    touch = (source / name_of(2)).stat()
    os.utime(source / name_of(2), ns=(touch.st_atime_ns, touch.st_mtime_ns + 10**9))
    second = embed(atlas=atlas, request=OTHER)
    assert (second.embedded, second.from_pack, second.to_dict()["from_pack"]) == (6, 5, 5)
    runs = sorted(Store.open(atlas).read("runs").to_pylist(), key=lambda run: run["id"])
    told = [json.loads(run["counts"]).get("read from the pack") for run in runs if run["command"] == "embed"]
    assert told == [None, 5]
    state = locatlas.open(atlas).status()["pack"]
    assert state == {"images": 6, "bytes": 6 * FIELD_BYTES}


def test_what_is_held_is_not_decoded_again(atlas: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(atlas=atlas)
    write_field(source, 6)
    index(source, atlas=atlas, dataset="opencell")
    read: list[str] = []
    real = run.read_image
    monkeypatch.setattr(run, "read_image", lambda record: read.append(record.id) or real(record))
    summary = pack(atlas=atlas)
    assert (summary.packed, summary.images, set(read)) == (1, 7, {id_of(6)})


def test_a_source_that_changed_is_read_anew_and_its_old_pixels_are_never_given(
    atlas: Path, source: Path, tmp_path: Path, decoded: Counter[str]
) -> None:
    pack(atlas=atlas)
    write_field(source, 2, pixels(99))
    without = Path(shutil.copytree(atlas, tmp_path / "without"))
    shutil.rmtree(without / "cache")
    found = embedded(atlas)
    assert set(decoded) == {name_of(2)}
    assert found == embedded(without)
    # of the same size and time, and the atlas knows it by another digest: the row is believed
    row = next(r for r in rows(atlas) if r["id"] == id_of(3))
    record = record_from_row(row, level="fov", roots={row["root"]: source})
    cache = PixelCache(Store.open(atlas).folder)
    assert cache.read(record, row) is not None
    assert cache.read(record, {**row, "source_digest": "00" * 16}) is None
    assert cache.read(record, {k: v for k, v in row.items() if k != "source_digest"}) is None
    os.utime(source / name_of(3), ns=(1, 1))
    assert cache.read(record, row) is None
    (source / name_of(3)).unlink()
    assert cache.read(record, row) is None


def test_pack_leaves_out_what_is_not_what_was_indexed_or_cannot_be_read(atlas: Path, source: Path) -> None:
    write_field(source, 0, pixels(50))
    (source / name_of(1)).unlink()
    summary = pack(atlas=atlas)
    assert (summary.packed, summary.changed, summary.unreadable) == (4, 1, 1)
    assert list(summary.reasons.values()) == [1]
    assert "No such file" in next(iter(summary.reasons))


@pytest.mark.parametrize("kind", ["png", "float32", "mixed"])
def test_pixels_of_every_type_come_back(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    folder = tmp_path / "fields"
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = ["a.png", "b.png"] if kind == "png" else ["a.tif", "b.tif"] if kind == "float32" else ["a.png", "b.tif"]
    for name in names:
        if name.endswith("png"):
            Image.fromarray(rng.integers(0, 256, (30, 50), dtype=np.uint8)).save(folder / name)
        else:
            plane = rng.random((30, 50), dtype=np.float32)
            tifffile.imwrite(folder / name, plane if kind == "float32" else (plane * 60000).astype(np.uint16))
    (folder / "manifest.csv").write_text(f"path_nucleus,path_protein,id\n{names[0]},{names[1]},x\n")
    index(folder, atlas=tmp_path / "atlas", dataset="manifest")
    assert pack(atlas=tmp_path / "atlas").packed == 1
    (row,) = rows(tmp_path / "atlas")
    record = record_from_row(row, level="fov", roots={row["root"]: folder})
    found = PixelCache(Store.open(tmp_path / "atlas").folder).read(record, row)
    assert found is not None
    wanted, digest = read_image(record)
    assert (found[1], found[0].channels, found[0].pixels.dtype) == (digest, wanted.channels, wanted.pixels.dtype)
    np.testing.assert_array_equal(found[0].pixels, wanted.pixels)


def test_cells_are_cut_from_fields_that_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: Counter[str]
) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    atlas = tmp_path / "atlas"
    masked = write_masked(tmp_path / "fields")
    index(masked, atlas=atlas, dataset="manifest", level="both", request=EncoderRequest(crop=CropPlan(size_px=9)))
    request = EncoderRequest(crop=CropPlan(size_px=15))
    without = embedded(Path(shutil.copytree(atlas, tmp_path / "without")), request, "cell")
    decoded.clear()
    assert pack(atlas=atlas).packed == len(rows(atlas))
    assert embedded(atlas, request, "cell") == without
    assert not decoded
    (run,) = [r for r in Store.open(atlas).read("runs").to_pylist() if r["command"] == "embed"]
    assert json.loads(run["counts"])["read from the pack"] == 2  # fields with cells, not their 4 cells


def test_training_takes_the_same_planes(atlas: Path, decoded: Counter[str]) -> None:
    spec = registry.get("locatlas_pico.untrained").with_changes(input_px=32)
    ids = [id_of(n) for n in range(6)]
    without = StoredImages.load(Store.open(atlas), "fov", ids, spec)
    pack(atlas=atlas)
    decoded.clear()
    found = StoredImages.load(Store.open(atlas), "fov", ids, spec, cache_bytes=0)
    assert all(torch.equal(found.planes(i), without.planes(i)) for i in range(6))
    assert not decoded


def test_an_atlas_and_its_images_may_be_moved(atlas: Path, source: Path, tmp_path: Path, decoded: Counter[str]) -> None:
    pack(atlas=atlas)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    atlas.rename(moved / "atlas")
    source.rename(moved / "images")
    name = rows(moved / "atlas")[0]["root"]
    maintain(atlas=moved / "atlas", roots={name: moved / "images"})
    embedded(moved / "atlas")
    assert not decoded


def test_large_sets_make_several_segments(atlas: Path, monkeypatch: pytest.MonkeyPatch, decoded: Counter[str]) -> None:
    monkeypatch.setattr(writing, "SEGMENT_BYTES", 2 * FIELD_BYTES)
    pack(atlas=atlas)
    assert [name.partition("-")[0] for name in segments(folder_of(atlas))] == ["000001", "000002", "000003"]
    embedded(atlas)
    assert not decoded


def test_a_look_up_does_not_go_through_all_entries(atlas: Path) -> None:
    cache = PixelCache(Store.open(atlas).folder)
    n = 500_000
    cache._entries = np.zeros(n, ENTRY)
    cache._entries["key"][:, 0] = np.arange(n)
    cache._high = cache._entries["key"][:, 0].copy()
    began = time.process_time()
    cache._entries["key"][:, 0].copy()
    once = time.process_time() - began
    began = time.process_time()
    for n in range(50):
        assert cache.holds(np.array([n, 0], "<u8").tobytes()) is not None
    assert time.process_time() - began < 10 * once


def test_two_runs_at_once_are_refused_and_writers_are_not(atlas: Path, source: Path) -> None:
    folder = Store.open(atlas).folder
    with folder.packing("pack"):
        with pytest.raises(AtlasLockedError, match="its images are being packed"):
            pack(atlas=atlas)
        index(source, atlas=atlas, dataset="opencell")
        maintain(atlas=atlas)
    with folder.writer("index"):
        assert pack(atlas=atlas).packed == 6


def test_maintain_removes_a_segment_that_no_image_wants_and_drop_removes_all(
    atlas: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SEGMENT_BYTES", 3 * FIELD_BYTES)
    pack(atlas=atlas)
    for n in range(3):
        write_field(source, n, pixels(70 + n))
    index(source, atlas=atlas, dataset="opencell")
    assert maintain(atlas=atlas).freed_bytes >= 3 * FIELD_BYTES
    assert [name.partition("-")[0] for name in segments(folder_of(atlas))] == ["000002"]
    assert (pack(atlas=atlas).packed, pack(atlas=atlas).images) == (3, 6)
    assert pack(atlas=atlas, drop=True).freed_bytes > 6 * FIELD_BYTES
    assert segments(folder_of(atlas)) == []


def test_channels_decide_what_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file with other meanings of its planes is another image."""
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    write_field(tmp_path, 1)
    row = {"root": "r", "sources": [{"path": name_of(1), "channels": ["nucleus", "protein"]}], "row": None}
    swapped = {**row, "sources": [{"path": name_of(1), "channels": ["protein", ""]}]}
    keys = {entry_key(one, "5:6") for one in (row, swapped, {**row, "row": 1}, {**row, "root": "s"})}
    assert len(keys | {entry_key(row, "5:7")}) == 5
