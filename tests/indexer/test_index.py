"""Indexing small folders: what is new, changed, moved, mended, clashing or unusable, and runs that do nothing."""

import errno
import logging
import os
import shlex
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from locatlas.errors import AtlasLockedError, EncoderMismatchError, InputError, UnknownNameError
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.files.decoders import Decoders
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders, rows, sources
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


# --- nothing to do, something new ---


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


# --- something changed ---


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


# --- channels and pixel size ---


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


# --- what cannot be used ---


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


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ESTALE], ids=errno.errorcode.get)
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
    """All images lack the channel that the first encoder was asked to use; the second attempt asks for another."""
    write_collection(tmp_path / "source", range(2))
    atlas = tmp_path / "atlas"
    summary = again(tmp_path / "source", atlas, request=EncoderRequest(passes="separate", stains=("er",)))
    assert (summary.embedded, len(summary.quarantined)) == (0, 2)
    assert all("image lacks channel er" in reason and "OC-FOV" in reason for reason in reasons(summary).values())
    summary = again(tmp_path / "source", atlas, request=EncoderRequest(passes="separate", stains=("protein",)))
    assert (summary.embedded, summary.quarantined) == (2, [])


def test_a_folder_of_nothing_but_bad_files_makes_no_encoder_current(tmp_path: Path, plain: None) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name_of(0)).write_bytes(b"no image")
    summary = again(tmp_path / "source", tmp_path / "atlas")
    assert (summary.fovs, len(summary.quarantined), summary.encoders["fov"].state) == (0, 1, "building")
    write_field(tmp_path / "source", 0)
    assert again(tmp_path / "source", tmp_path / "atlas").encoders["fov"].state == "current"


# --- ids ---


def test_an_id_that_belongs_to_an_image_below_another_root_is_not_overwritten(
    source: Path, atlas: Path, store: Store, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_field(other, 1, pixels(50))
    write_field(other, 20, pixels(20))
    before = contents(store)
    summary = again(other, atlas)
    assert (summary.embedded, list(reasons(summary))) == (1, [name_of(1)])
    assert f"id {id_of(1)} already belongs to {source / name_of(1)}" in reasons(summary)[name_of(1)]
    assert "give the data set another name with --name" in reasons(summary)[name_of(1)]
    after = contents(store)
    assert after["fovs"][:6] == before["fovs"]
    version = versions(store)
    assert list(reasons(again(other, atlas))) == [name_of(1)]
    assert again(source, atlas).skipped == 6
    assert versions(store) == version


def test_another_name_keeps_two_collections_apart(source: Path, atlas: Path, store: Store, tmp_path: Path) -> None:
    other = write_collection(tmp_path / "other", range(2))
    assert again(other, atlas, name="mine").embedded == 2
    assert store.read("fovs", ["id"])["id"].to_pylist()[:2] == ["mine/FID00000000", "mine/FID00000001"]
    assert again(other, atlas, name="mine").skipped == 2


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "e\u0301"])
def test_a_name_that_cannot_begin_an_id_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="data set name"):
        again(source, tmp_path / "atlas", name=name)
    assert not (tmp_path / "atlas").exists()


def test_two_files_of_one_id_are_one_image_and_one_rejection(source: Path, atlas: Path) -> None:
    shutil.copy(source / name_of(1), source / name_of(1).replace("GENE1", "ZZZ"))
    summary = again(source, atlas)
    assert (summary.skipped, summary.embedded, len(summary.quarantined)) == (6, 0, 1)
    assert f"id '{id_of(1)}' is already that of" in summary.quarantined[0].reason


def test_two_manifests_of_one_folder_do_not_take_each_others_ids(tmp_path: Path, plain: None) -> None:
    for n in (1, 2):
        write_field(tmp_path / "images", n)
    write_manifest(tmp_path / "images", ["id,path,channels", f"a,{name_of(1)},nucleus;protein"])
    again(tmp_path / "images" / "images.csv", tmp_path / "atlas", dataset="manifest")
    write_manifest(tmp_path / "images", ["id,path,channels", f"a,{name_of(2)},nucleus;protein"])
    summary = again(tmp_path / "images" / "images.csv", tmp_path / "atlas", dataset="manifest")
    assert "id manifest/a already belongs to" in reasons(summary)[name_of(2)]


def test_an_image_outside_the_root_is_refused_unless_its_folder_is_declared(tmp_path: Path, plain: None) -> None:
    outside = write_field(tmp_path / "archive", 1)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name_of(1)).symlink_to(outside)
    summary = again(tmp_path / "images", tmp_path / "atlas")
    assert "outside" in reasons(summary)[name_of(1)]
    summary = again(tmp_path / "images", tmp_path / "atlas", roots=[tmp_path / "archive"])
    assert (summary.embedded, summary.quarantined) == (1, [])
    store = Store.open(tmp_path / "atlas")
    assert store.folder.root_path(row(store, 1)["root"]) == tmp_path / "images"  # where the link lies


@pytest.mark.parametrize("together", [True, False])
def test_of_several_folders_that_may_not_be_read_the_one_that_holds_all_is_told(
    tmp_path: Path, plain: None, together: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "the archive"
    lines = ["path,channels", *(f"{write_field(archive / f'plate{n}', n)},nucleus;protein" for n in range(4))]
    (tmp_path / "images").mkdir()
    write_manifest(tmp_path / "images", lines)
    if not together:
        monkeypatch.setattr("os.path.commonpath", lambda _: "/data")  # two disks, say
    with caplog.at_level(logging.WARNING):
        summary = again(tmp_path / "images" / "images.csv", tmp_path / "atlas", dataset="manifest")
    assert len(summary.quarantined) == 4
    (told,) = [r.getMessage() for r in caplog.records if "may not be read" in r.getMessage()]
    plates = " ".join(f"--root '{archive}/plate{n}'" for n in range(3))
    wanted = f"--root '{archive}'" if together else f"{plates}, and 1 more,"
    assert told == f"sources lie in 4 folders that may not be read: {wanted} would declare them"
    roots = [Path(shlex.split(told)[shlex.split(told).index("--root") + 1])] if together else []
    summary = again(tmp_path / "images" / "images.csv", tmp_path / "atlas", dataset="manifest", roots=roots)
    assert summary.embedded == (4 if together else 0)


@pytest.mark.parametrize("prune", [False, True])
def test_a_link_into_a_declared_root_that_is_deleted_is_gone_though_its_target_is_there(
    tmp_path: Path, plain: None, prune: bool
) -> None:
    (tmp_path / "images").mkdir()
    for n in (1, 2):
        (tmp_path / "images" / name_of(n)).symlink_to(write_field(tmp_path / "archive", n))
    first = again(tmp_path / "images", tmp_path / "atlas", roots=[tmp_path / "archive"])
    assert (first.embedded, first.gone) == (2, [])
    assert embed(atlas=tmp_path / "atlas", request=OTHER).embedded == 2
    before = versions(Store.open(tmp_path / "atlas"))
    assert again(tmp_path / "images", tmp_path / "atlas").skipped == 2
    assert versions(Store.open(tmp_path / "atlas")) == before
    (tmp_path / "images" / name_of(1)).unlink()
    summary = again(tmp_path / "images", tmp_path / "atlas", prune=prune)
    assert (summary.gone, summary.skipped) == ([id_of(1)], 1)
    kept = [row["id"] for row in Store.open(tmp_path / "atlas").read("fovs").to_pylist()]
    assert sorted(kept) == ([id_of(2)] if prune else [id_of(1), id_of(2)])


def test_links_that_an_earlier_version_stored_by_what_they_lead_to_get_their_own_place(
    tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, archive = tmp_path / "images", tmp_path / "archive"
    images.mkdir()
    for n in (1, 2):
        (images / name_of(n)).symlink_to(write_field(archive, n))
    with monkeypatch.context() as earlier:
        for module in (rows, sources):
            earlier.setattr(module, "own_place", Path.resolve)
        assert again(images, tmp_path / "atlas", roots=[archive]).embedded == 2
    store = Store.open(tmp_path / "atlas")
    assert {store.folder.root_path(row(store, n)["root"]) for n in (1, 2)} == {archive}
    vectors = contents(store)[encoders.stored_encoders(store)[0].table]
    summary = again(images, tmp_path / "atlas")
    assert (summary.embedded, summary.updated, summary.skipped, summary.quarantined) == (0, 2, 0, [])
    assert {store.folder.root_path(row(store, n)["root"]) for n in (1, 2)} == {images}
    assert contents(store)[encoders.stored_encoders(store)[0].table] == vectors
    # from now on they stay, also where the folder that they lead to is read
    before = versions(store)
    assert [again(folder, tmp_path / "atlas").skipped for folder in (images, archive)] == [2, 2]
    assert versions(store) == before
    (images / name_of(1)).unlink()
    assert again(images, tmp_path / "atlas").gone == [id_of(1)]


# --- encoders, locks, arguments ---


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
