"""Whose an id is: of images of several folders, files, manifests, roots and links."""

import logging
import shlex
import shutil
from pathlib import Path

import pytest

from locatlas.errors import InputError
from locatlas.indexer.embed import embed
from locatlas.indexer.store import encoders, rows, sources
from locatlas.indexer.store.tables import Store
from tests.indexer.made import contents, id_of, name_of, pixels, versions, write_collection, write_field
from tests.indexer.test_index import OTHER, again, reasons, row, write_manifest


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
