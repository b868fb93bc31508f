"""Indexing again what changed, moved, or is declared otherwise: only that is embedded."""

import os
from pathlib import Path

import numpy as np

from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.indexer.summary import IndexSummary
from tests.indexer.made import (
    contents,
    id_of,
    name_of,
    pixels,
    vectors,
    versions,
    write_annotations,
    write_collection,
    write_field,
)
from tests.indexer.test_index import OTHER, again, reasons, row, table_of, touch, write_manifest


def test_a_changed_file_is_embedded_again_alone(source: Path, atlas: Path, store: Store) -> None:
    before, table = contents(store), table_of(store)
    write_field(source, 2, pixels(99))
    summary = again(source, atlas)
    assert (summary.embedded, summary.skipped) == (1, 5)
    after = contents(store)
    changed = [a[0] for a, b in zip(after[table], before[table], strict=True) if a != b]
    assert changed == [id_of(2)]
    assert after["fovs"][2]["source_digest"] == after[table][2][1] != before["fovs"][2]["source_digest"]


def test_a_changed_file_makes_the_vectors_of_all_encoders_stale_and_each_is_made_again(
    source: Path, atlas: Path, store: Store
) -> None:
    embed(atlas=atlas, request=OTHER)
    write_field(source, 2, pixels(99))
    assert again(source, atlas).embedded == 1
    first = next(e for e in encoders.stored_encoders(store) if e.state == "superseded")
    assert embed(atlas=atlas, request=EncoderRequest(name=first.spec.name, mapping="natural")).embedded == 1


def test_a_file_that_was_touched_or_copied_is_not_embedded_again(source: Path, atlas: Path, store: Store) -> None:
    before = contents(store)
    touch(source / name_of(4))
    summary = again(source, atlas)
    assert (summary.embedded, summary.updated, summary.skipped) == (0, 1, 5)
    after = contents(store)
    assert after["fovs"][4].pop("source_stat") != before["fovs"][4].pop("source_stat")
    assert after == before
    assert again(source, atlas).skipped == 6


def test_new_annotations_update_metadata_without_embedding(source: Path, atlas: Path, store: Store) -> None:
    before, table = contents(store), table_of(store)
    vectors_before = store.version(table)
    write_annotations(source, dict.fromkeys(range(6), "nucleoplasm"))
    summary = again(source, atlas)
    assert (summary.embedded, summary.updated, summary.skipped) == (0, 3, 3)
    assert store.version(table) == vectors_before
    after = contents(store)
    assert [r["localizations"] for r in after["fovs"]] == [["nucleoplasm"]] * 6
    assert [r["thumbnail"] for r in after["fovs"]] == [r["thumbnail"] for r in before["fovs"]]
    assert again(source, atlas).skipped == 6


def test_a_removed_source_leaves_its_row_and_vector(source: Path, atlas: Path, store: Store) -> None:
    before = versions(store)
    (source / name_of(0)).unlink()
    assert again(source, atlas).skipped == 5
    told = versions(store)
    assert told.pop("runs") > before.pop("runs")  # that the file is gone
    assert told == before
    told = versions(store)
    assert again(source, atlas).skipped == 5
    assert versions(store) == told


def test_a_moved_folder_is_found_again_without_embedding(source: Path, atlas: Path, store: Store) -> None:
    moved = source.rename(source.parent / "elsewhere")
    summary = again(moved, atlas)
    assert (summary.embedded, summary.updated, summary.quarantined) == (0, 6, [])
    assert store.folder.root_path(row(store, 0)["root"]) == moved
    assert again(moved, atlas).skipped == 6


def test_a_moved_file_with_other_bytes_of_the_same_size_and_time_is_embedded_again(
    source: Path, atlas: Path, store: Store
) -> None:
    """As archives unpack them: every uncompressed image has the same size, and often the same time."""
    table = table_of(store)
    before, stat = vectors(store, table), (source / name_of(3)).stat()
    (source / name_of(3)).unlink()
    path = write_field(source / "sub", 3, pixels(77))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert again(source, atlas).embedded == 1
    assert vectors(store, table)[id_of(3)] != before[id_of(3)]


def test_a_folder_within_an_indexed_folder_holds_the_same_images(tmp_path: Path, plain: None) -> None:
    write_collection(tmp_path / "all" / "part")
    again(tmp_path / "all", tmp_path / "atlas")
    store = Store.open(tmp_path / "atlas")
    before = versions(store)
    summary = again(tmp_path / "all" / "part", tmp_path / "atlas")
    assert (summary.skipped, summary.embedded, summary.quarantined) == (6, 0, [])
    assert versions(store) == before


def test_channels_declared_in_another_order_are_embedded_again_by_every_encoder(tmp_path: Path, plain: None) -> None:
    write_field(tmp_path / "images", 1)
    lines = [f"a,{name_of(1)},nucleus;protein", f"b,{name_of(1)},protein;nucleus"]
    manifest = write_manifest(tmp_path / "images", ["id,path,channels", *lines])
    again(manifest, tmp_path / "atlas", dataset="manifest")
    embed(atlas=tmp_path / "atlas", request=OTHER)
    store = Store.open(tmp_path / "atlas")
    first, second = (e.table for e in encoders.stored_encoders(store))
    right, wrong = vectors(store, first)["manifest/a"], vectors(store, first)["manifest/b"]
    assert right != wrong

    write_manifest(
        tmp_path / "images", ["id,path,channels", lines[0], lines[1].replace("protein;nucleus", "nucleus;protein")]
    )
    summary = again(manifest, tmp_path / "atlas", dataset="manifest")
    assert (summary.embedded, summary.skipped) == (1, 1)
    assert vectors(store, first)["manifest/b"] == right
    assert "manifest/b" not in vectors(store, second)
    assert store.read("fovs")["channels"].to_pylist() == [["nucleus", "protein"]] * 2


def test_of_a_stacked_file_that_changed_only_the_changed_rows_are_embedded(tmp_path: Path, plain: None) -> None:
    folder, atlas = tmp_path / "cytoself", tmp_path / "atlas"
    folder.mkdir()
    stack = np.random.default_rng(0).random((2, 3, 40, 40), dtype=np.float32)

    def run() -> IndexSummary:
        np.save(folder / "A_nuc.npy", stack[0])
        np.save(folder / "A_pro.npy", stack[1])
        return again(folder, atlas, dataset="cytoself")

    assert run().embedded == 3
    assert again(folder, atlas, dataset="cytoself").skipped == 3
    stack[1, 1] = np.nan
    summary = run()
    assert list(reasons(summary)) == ["A_nuc.npy[1]"]
    assert "NaN" in reasons(summary)["A_nuc.npy[1]"]
    assert (summary.embedded, summary.updated) == (0, 2)
    stack[1, 1] = 0.25
    stack[1, 1, 0] = 0.75
    summary = run()
    assert (summary.embedded, summary.updated, summary.quarantined) == (1, 2, [])
    assert Store.open(atlas).count("quarantine") == 0
