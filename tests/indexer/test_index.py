"""Indexing small folders: what is new or unusable, runs that do nothing, and what is asked of them."""

import errno
import os
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from locatlas.errors import AtlasLockedError, EncoderMismatchError, InputError, UnknownNameError
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.files.decoders import Decoders
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.indexer.summary import IndexSummary
from tests.indexer.made import contents, id_of, name_of, pixels, vectors, versions, write_collection, write_field
from tests.quick import some

OTHER = EncoderRequest(mapping="random", seed=3)


def again(source: Path, atlas: Path, **options: Any) -> IndexSummary:
    return index(source, atlas=atlas, **{"dataset": "opencell", "commit_rows": 4, **options})


def table_of(store: Store, level: str = "fov") -> str:
    found = encoders.current(store, level)
    assert found is not None
    return found.table


def row(store: Store, n: int, table: str = "fovs") -> dict[str, Any]:
    return {r["id"]: r for r in store.read(table).to_pylist()}[id_of(n)]


def reasons(summary: IndexSummary) -> dict[str, str]:
    return {r.source: r.reason for r in summary.quarantined}


def touch(path: Path) -> None:
    """Another modification time, the same bytes."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def write_manifest(folder: Path, lines: list[str]) -> Path:
    path = folder / "images.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_image_has_its_row_its_vector_and_its_annotation(store: Store) -> None:
    assert store.read("fovs", ["id"])["id"].to_pylist() == [id_of(n) for n in range(6)]
    assert list(vectors(store, table_of(store))) == [id_of(n) for n in range(6)]
    one = row(store, 1)
    assert (one["protein"], one["localizations"], one["channels"]) == ("GENE1", ["vesicles"], ["nucleus", "protein"])
    assert (one["height"], one["width"], one["root"]) == (40, 40, "opencell")
    assert one["sources"] == [{"path": name_of(1), "channels": ["nucleus", "protein"]}]
    assert one["thumbnail"][:4] == b"RIFF"


def test_a_vector_says_which_pixels_it_was_made_from(store: Store) -> None:
    of_vectors = {r["id"]: r["source_digest"] for r in store.read(table_of(store)).to_pylist()}
    assert of_vectors == {r["id"]: r["source_digest"] for r in store.read("fovs").to_pylist()}
    assert len(set(of_vectors.values())) == 6


def test_a_second_run_does_nothing_at_all(
    source: Path, atlas: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        pytest.fail("nothing is to be embedded")

    monkeypatch.setattr("locatlas.indexer.job.load_encoder", fail)
    before = versions(store)
    written = store.folder.info_path.stat().st_mtime_ns
    summary = again(source, atlas)
    assert (summary.embedded, summary.skipped, summary.updated, summary.fovs) == (0, 6, 0, 6)
    assert versions(store) == before
    assert store.folder.info_path.stat().st_mtime_ns == written
    assert store.count("runs") == 1


def test_a_new_image_is_added_alone(source: Path, atlas: Path, store: Store) -> None:
    before = contents(store)
    write_field(source, 6)
    summary = again(source, atlas)
    assert (summary.embedded, summary.skipped, summary.fovs) == (1, 6, 7)
    after, table = contents(store), table_of(store)
    assert after["fovs"][:6] == before["fovs"]
    assert after[table][:6] == before[table]
    assert after[table][6][0] == id_of(6)
    assert store.count("runs") == 2


def test_the_real_encoder_gives_the_same_vectors_for_one_image_more(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, later = tmp_path / "one", tmp_path / "later"
    again(source, one)
    (held := tmp_path / "held").mkdir()
    shutil.move(source / name_of(3), held / name_of(3))
    again(source, later)
    shutil.move(held / name_of(3), source / name_of(3))
    again(source, later)
    table = table_of(Store.open(one))
    assert vectors(Store.open(later), table) == vectors(Store.open(one), table)
    assert encoders.current(Store.open(one), "fov").spec.name == "locatlas_pico.synthetic"  # type: ignore[union-attr]


def bad_files(folder: Path) -> dict[int, str]:
    """Files of fields 10 and on that cannot be used, with the words of the reason."""
    write_field(folder, 10, pixels(10, channels=3))
    write_field(folder, 11, pixels(11)[0])
    whole = write_field(folder, 12).read_bytes()
    (folder / name_of(12)).write_bytes(whole[: len(whole) // 2])
    (folder / name_of(13)).write_bytes(b"")
    (folder / name_of(14)).write_text("no image")
    tifffile.imwrite(folder / name_of(15), np.full((2, 40, 40), np.nan, np.float32))
    (folder / name_of(16)).mkdir()
    return {
        10: "3 planes", 11: "1 plane", 12: "", 13: "", 14: "not an image", 15: "NaN",
    }  # fmt: skip


def test_images_that_cannot_be_used_go_to_quarantine_by_file_and_the_rest_is_indexed(
    source: Path, tmp_path: Path, plain: None
) -> None:
    bad = bad_files(source)
    summary = again(source, tmp_path / "atlas")
    found = reasons(summary)
    assert sorted(found) == [name_of(n) for n in bad]
    for n, words in bad.items():
        assert name_of(n) in found[name_of(n)]
        assert words in found[name_of(n)]
        assert "\n" not in found[name_of(n)]
    store = Store.open(tmp_path / "atlas")
    assert (summary.embedded, summary.fovs, store.count("quarantine")) == (6, 6, len(bad))
    assert encoders.current(store, "fov") is not None
    before = versions(store)
    summary = again(source, tmp_path / "atlas")
    assert (summary.embedded, summary.skipped) == (0, 6)
    assert reasons(summary) == found
    assert versions(store) == before


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_both_depths_are_taken(tmp_path: Path, plain: None, dtype: str) -> None:
    write_field(tmp_path / "source", 0, pixels(0, dtype=dtype))
    assert again(tmp_path / "source", tmp_path / "atlas").embedded == 1


def answering(code: str) -> Decoders:
    """Decoders that run some code before they answer."""
    start = f"import sys; sys.path[:] = {sys.path!r}; from locatlas.indexer.files import decoder_worker, opening"
    return Decoders([sys.executable, "-c", f"{start}\n{code}\ndecoder_worker.main()"])


@pytest.mark.parametrize("number", some([errno.EMFILE, errno.ENFILE, errno.ESTALE], 0), ids=errno.errorcode.get)
def test_a_process_that_can_open_no_file_puts_no_image_in_quarantine(
    number: int, source: Path, tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every image that it met would be given up for good, because it would not be tried again."""
    refused = f"def refused(path, flags): raise OSError({number}, {os.strerror(number)!r}, path)"
    code = f"{refused}\nopening._nonblocking = refused"
    with closing(answering(code)) as broken, monkeypatch.context() as patch:
        patch.setattr("locatlas.indexer.files.decoding.decoders", lambda: broken)
        with pytest.raises(OSError, match=os.strerror(number)):
            index(source, atlas=tmp_path / "a", dataset="opencell")
    assert index(source, atlas=tmp_path / "a", dataset="opencell").embedded == 6
    assert Store.open(tmp_path / "a").count("quarantine") == 0


def test_a_repaired_file_is_taken_up_and_leaves_quarantine(source: Path, tmp_path: Path, plain: None) -> None:
    whole = (source / name_of(3)).read_bytes()
    (source / name_of(3)).write_bytes(whole[:100])
    atlas = tmp_path / "atlas"
    assert list(reasons(again(source, atlas))) == [name_of(3)]
    (source / name_of(3)).write_bytes(whole)
    summary = again(source, atlas)
    assert (summary.embedded, summary.skipped, summary.quarantined) == (1, 5, [])
    store = Store.open(atlas)
    assert store.count("quarantine") == 0
    reference = tmp_path / "reference"
    again(source, reference)
    assert vectors(store, table_of(store)) == vectors(Store.open(reference), table_of(store))


def test_a_file_that_was_damaged_keeps_its_vector_and_leaves_quarantine_when_restored(
    source: Path, atlas: Path, store: Store
) -> None:
    path = source / name_of(1)
    whole, stat, before = path.read_bytes(), path.stat(), contents(store)
    path.write_bytes(whole[:500])
    assert list(reasons(again(source, atlas))) == [name_of(1)]
    assert vectors(store, table_of(store))[id_of(1)] == before[table_of(store)][1][2]
    path.write_bytes(whole)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    summary = again(source, atlas)
    assert (summary.skipped, summary.quarantined) == (6, [])
    assert {**contents(store), "quarantine": []} == {**before, "quarantine": []}
    assert store.count("quarantine") == 0


def test_a_file_that_is_gone_or_renamed_leaves_quarantine(source: Path, tmp_path: Path, plain: None) -> None:
    (source / name_of(0)).write_bytes(b"no image")
    (source / "OC-FOV_bad-name.tif").write_bytes(b"x")
    atlas = tmp_path / "atlas"
    assert len(reasons(again(source, atlas))) == 2
    (source / name_of(0)).unlink()
    (source / "OC-FOV_bad-name.tif").unlink()
    assert again(source, atlas).quarantined == []
    assert Store.open(atlas).count("quarantine") == 0


def test_a_mended_manifest_is_taken_up_though_the_file_is_the_same(tmp_path: Path, plain: None) -> None:
    write_field(tmp_path / "images", 1)
    manifest = write_manifest(tmp_path / "images", ["id,path,channels", f"a,{name_of(1)},protein"])
    summary = again(manifest, tmp_path / "atlas", dataset="manifest")
    assert (summary.embedded, list(reasons(summary))) == (0, [name_of(1)])
    write_manifest(tmp_path / "images", ["id,path,channels", f"a,{name_of(1)},nucleus;protein"])
    summary = again(manifest, tmp_path / "atlas", dataset="manifest")
    assert (summary.embedded, summary.quarantined) == (1, [])


def test_what_one_encoder_cannot_take_another_may(tmp_path: Path, plain: None) -> None:
    """All images lack the channels that the first encoder has slots for; the second attempt copies them into all."""
    write_field(tmp_path / "images", 1)
    manifest = write_manifest(tmp_path / "images", ["id,path,channels", f"a,{name_of(1)},golgi;actin"])
    summary = again(manifest, tmp_path / "atlas", dataset="manifest")
    assert (summary.embedded, len(summary.quarantined)) == (0, 1)
    assert all("no channel of the image fits" in reason and "OC-FOV" in reason for reason in reasons(summary).values())
    summary = again(manifest, tmp_path / "atlas", dataset="manifest", request=EncoderRequest(mapping="replicate"))
    assert (summary.embedded, summary.quarantined) == (1, [])


def test_a_stain_that_no_image_has_is_refused_before_there_is_an_atlas(tmp_path: Path, plain: None) -> None:
    write_collection(tmp_path / "source", range(2))
    request = EncoderRequest(mapping="replicate", stains=("protein", "nucleuss"))
    with pytest.raises(
        UnknownNameError, match=r"unknown stain 'nucleuss' \(no image has it\); known: nucleus, protein$"
    ):
        again(tmp_path / "source", tmp_path / "atlas", request=request)
    assert not (tmp_path / "atlas").exists()


def test_a_folder_of_nothing_but_bad_files_makes_no_encoder_current(tmp_path: Path, plain: None) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name_of(0)).write_bytes(b"no image")
    summary = again(tmp_path / "source", tmp_path / "atlas")
    assert (summary.fovs, len(summary.quarantined), summary.encoders["fov"].state) == (0, 1, "building")
    write_field(tmp_path / "source", 0)
    assert again(tmp_path / "source", tmp_path / "atlas").encoders["fov"].state == "current"


def test_another_encoder_than_the_current_one_is_refused_in_one_line(source: Path, atlas: Path, store: Store) -> None:
    before = versions(store)
    with pytest.raises(EncoderMismatchError) as caught:
        again(source, atlas, request=OTHER)
    assert "its fov encoder is locatlas_pico.synthetic (natural/joint, fp32, " in str(caught.value)
    assert "asked for locatlas_pico.synthetic (random/joint, fp32, " in str(caught.value)
    assert "add the other with `locatlas embed`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert versions(store) == before


def test_the_same_request_is_the_same_run_though_images_with_other_channels_came_first(
    tmp_path: Path, plain: None
) -> None:
    for n in (2, 3):
        write_field(tmp_path / "images", n)
    write_field(tmp_path / "images", 1, pixels(1, channels=3))
    lines = [f"{n},{name_of(n)},nucleus;protein" for n in (2, 3)]
    manifest = write_manifest(tmp_path / "images", ["id,path,channels", *lines])
    request = EncoderRequest(passes="separate")
    again(manifest, tmp_path / "atlas", dataset="manifest", request=request)
    write_manifest(tmp_path / "images", ["id,path,channels", f"1,{name_of(1)},nucleus;protein;er", *lines])
    summary = again(manifest, tmp_path / "atlas", dataset="manifest", request=request)
    assert (summary.embedded, summary.skipped) == (1, 2)
    assert summary.encoders["fov"].spec.stains == ("protein", "nucleus")


def test_an_unknown_encoder_leaves_no_atlas(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown encoder 'nope'"):
        again(source, tmp_path / "atlas", request=EncoderRequest(name="nope"))
    assert not (tmp_path / "atlas").exists()


def test_sources_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(InputError, match="holds nothing that the data set 'opencell' reads"):
        again(tmp_path / "source", tmp_path / "atlas")
    with pytest.raises(InputError, match="no such file or folder"):
        again(tmp_path / "none", tmp_path / "atlas")
    assert not (tmp_path / "atlas").exists()


def test_readers_work_while_a_writer_holds_the_atlas(source: Path, atlas: Path, store: Store) -> None:
    with store.folder.writer("index"):
        assert Store.open(atlas).count("fovs") == 6
        assert len(Store.open(atlas).read_vectors(table_of(store)).ids) == 6
        with pytest.raises(AtlasLockedError, match="another writer holds this atlas"):
            again(source, atlas)


def test_progress_counts_every_image_once_and_ends_at_all(source: Path, tmp_path: Path, plain: None) -> None:
    told: list[tuple[str, int, int]] = []
    bad_files(source)
    again(source, tmp_path / "atlas", progress=lambda *what: told.append(what), commit_rows=2)
    done = [n for what, n, _ in told if what == "embedding"]
    assert done == sorted(done)
    assert done[-1] == 12
    assert {total for *_, total in told} == {12}


def test_the_document_names_counts_encoder_and_reasons(source: Path, tmp_path: Path, plain: None) -> None:
    (source / name_of(0)).write_bytes(b"no image")
    document = again(source, tmp_path / "atlas").to_dict()
    assert {k: document[k] for k in ("fovs", "cells", "embedded", "skipped", "updated")} == {
        "fovs": 5, "cells": 0, "embedded": 5, "skipped": 0, "updated": 0,
    }  # fmt: skip
    assert document["encoder"]["name"] == "locatlas_pico.synthetic"
    assert len(document["encoder"]["fingerprint"]) == 64
    assert document["quarantined"][0]["source"] == name_of(0)
