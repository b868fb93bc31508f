"""What superseded encoders leave: kept until it is asked for, then gone at once for readers, and known for lineage."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from locatlas.errors import AtlasLockedError, InputError, UnknownNameError, WeightsError
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.index import index
from locatlas.indexer.indices.build import build
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from locatlas.query.atlas import open_atlas
from tests.indexer.made import contents, id_of, name_of, pixels, versions
from tests.quick import some

OTHER = EncoderRequest(mapping="random", seed=3)


def begin(store: Store) -> StoredEncoder:
    now = encoders.current(store, "fov")
    assert now is not None
    new = StoredEncoder("fov", now.spec.with_changes(mapping="random", mapping_seed=9), "building")
    with store.folder.writer("finetune"):
        encoders.put(store, new)
        held = store.read_vectors(now.table).take([0, 1])
        store.put_embeddings("fov", new.fingerprint, held.ids, held.digests, held.vectors)
    return new


@pytest.fixture
def old(atlas: Path, store: Store) -> StoredEncoder:
    """The first encoder of the atlas, superseded by another."""
    embed(atlas=atlas, request=OTHER)
    return next(e for e in encoders.stored_encoders(store) if e.state == "superseded")


def test_superseded_vectors_go_and_what_is_in_use_or_being_built_stays(
    atlas: Path, store: Store, old: StoredEncoder
) -> None:
    built = begin(store)
    build(store, old, "flat")
    now = encoders.current(store, "fov")
    assert now is not None
    build(store, now, "flat")
    before = contents(store)
    summary = maintain(atlas=atlas, drop_superseded=True)
    assert [(v.fingerprint, v.vectors) for v in summary.dropped] == [(old.fingerprint, 6)]
    assert summary.freed_bytes == summary.dropped[0].bytes > 6 * 4 * old.spec.dim
    after = contents(store)
    assert after == {table: rows for table, rows in before.items() if table != old.table}
    assert {now.table, built.table} <= after.keys()
    assert {row["fingerprint"] for row in after["encoders"]} >= {old.fingerprint, now.fingerprint, built.fingerprint}
    assert {path.name.partition(".")[0] for path in store.folder.indices.iterdir()} == {now.table}
    assert open_atlas(atlas).neighbors(id=id_of(1), k=3, exclude="self").num_rows == 3
    assert os.listdir(store.folder.db) == [name for name in os.listdir(store.folder.db) if name.endswith(".lance")]


def test_nothing_is_deleted_that_was_not_asked_for(atlas: Path, store: Store, old: StoredEncoder) -> None:
    before = versions(store)
    summary = maintain(atlas=atlas)
    assert (summary.dropped, [v.fingerprint for v in summary.kept]) == ([], [old.fingerprint])
    assert versions(store) == before


def seeds(store: Store) -> dict[int | None, str]:
    return {e.spec.mapping_seed: e.state for e in encoders.stored_encoders(store)}


def test_vectors_that_were_made_to_stand_beside_the_current_ones_are_none_of_the_superseded(
    atlas: Path, store: Store, old: StoredEncoder
) -> None:
    embed(atlas=atlas, request=EncoderRequest(mapping="random", seed=4), switch=False)
    assert seeds(store) == {None: "superseded", 3: "current", 4: "beside"}
    assert [v.fingerprint for v in maintain(atlas=atlas, drop_superseded=True).dropped] == [old.fingerprint]
    before = versions(store)
    summary = maintain(atlas=atlas, drop_superseded=True)
    assert (summary.dropped, summary.kept, versions(store)) == ([], [], before)


def test_what_was_current_once_stays_so_when_its_vectors_are_made_again_which_is_told(
    atlas: Path, store: Store, old: StoredEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    maintain(atlas=atlas, drop_superseded=True)
    natural = EncoderRequest(mapping="natural")
    assert embed(atlas=atlas, request=natural, switch=False).embedded == 6
    assert seeds(store) == {None: "superseded", 3: "current"}
    said = f"{old.spec.name} ({old.fingerprint[:12]}) was current once at level fov and stays superseded"
    assert said in caplog.text
    assert "--drop-superseded` deletes these vectors, too" in caplog.text
    caplog.clear()
    before = versions(store)
    embed(atlas=atlas, request=natural, switch=False)
    assert (versions(store), caplog.text) == (before, "")
    summary = maintain(atlas=atlas, drop_encoders=[old.fingerprint])
    assert ([v.fingerprint for v in summary.dropped], summary.forgotten) == ([old.fingerprint], [])
    assert seeds(store) == {None: "superseded", 3: "current"}


def test_what_was_current_once_stays_so_when_its_network_cannot_be_loaded(
    atlas: Path, store: Store, old: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        message = "no weights"
        raise WeightsError(message)

    maintain(atlas=atlas, drop_superseded=True)
    before = versions(store)
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", fails)
    with pytest.raises(WeightsError):
        embed(atlas=atlas, request=EncoderRequest(mapping="natural"), switch=False)
    assert (seeds(store), versions(store)) == ({None: "superseded", 3: "current"}, before)


def test_an_encoder_that_nobody_wants_any_more_is_given_up_by_name(
    atlas: Path, store: Store, old: StoredEncoder
) -> None:
    embed(atlas=atlas, request=EncoderRequest(mapping="random", seed=4), switch=False)
    built = begin(store)
    beside = next(e for e in encoders.stored_encoders(store) if e.state == "beside")
    before = contents(store)
    summary = maintain(atlas=atlas, drop_encoders=[beside.fingerprint[:12], built.fingerprint])
    assert {(v.fingerprint, v.vectors, v.state) for v in summary.dropped} == {
        (beside.fingerprint, 6, "beside"),
        (built.fingerprint, 2, "building"),
    }
    assert sorted(summary.forgotten) == sorted(f"fov/{e.fingerprint}" for e in (beside, built))
    assert [v.fingerprint for v in summary.kept] == [old.fingerprint]
    after = contents(store)
    assert {e.state for e in encoders.stored_encoders(store)} == {"current", "superseded"}
    changed = {beside.table, built.table, "encoders"}
    assert {t: rows for t, rows in after.items() if t not in changed} == {
        t: rows for t, rows in before.items() if t not in changed
    }
    assert after.keys() & {beside.table, built.table} == set()
    with pytest.raises(UnknownNameError, match="unknown encoder in this atlas"):
        maintain(atlas=atlas, drop_encoders=[built.fingerprint])


def test_what_an_encoder_could_not_take_is_tried_again_by_another_and_what_is_no_image_stays_in_quarantine(
    atlas: Path, store: Store, source: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    tifffile.imwrite(more / "one.tif", pixels(7, channels=1)[0])
    (more / "manifest.csv").write_text("id,path,channels\none,one.tif,nucleus\n")
    assert index(more / "manifest.csv", atlas=atlas, dataset="manifest").embedded == 1
    (source / name_of(1)).write_bytes(b"no image")

    def held() -> list[str]:
        return sorted(row["source"] for row in store.read("quarantine").to_pylist())

    beside = EncoderRequest(mapping="replicate", stains=("nucleus", "protein"))
    assert embed(atlas=atlas, request=beside, switch=False).embedded == 5
    assert held() == [name_of(1), "one.tif"]
    unwanted = next(e for e in encoders.stored_encoders(store) if e.state == "beside")
    maintain(atlas=atlas, drop_encoders=[unwanted.fingerprint])
    assert held() == [name_of(1), "one.tif"]
    other = EncoderRequest(mapping="replicate", stains=("nucleus",))
    assert embed(atlas=atlas, request=other, switch=False).embedded == 6
    assert held() == [name_of(1)]


def test_vectors_that_were_imported_go_if_they_are_named_and_come_back_from_their_file(
    atlas: Path, store: Store, old: StoredEncoder, tmp_path: Path
) -> None:
    np.savez(tmp_path / "v.npz", ids=np.array([id_of(0), "x"]), vectors=np.eye(2, 3, dtype=np.float32))
    there = {name: import_embeddings(tmp_path / "v.npz", atlas=atlas, name=name)["encoder"] for name in ("a", "b")}
    before = contents(store)
    summary = maintain(atlas=atlas, drop_encoders=["b"])
    assert [(v.name, v.vectors, v.imported, v.state) for v in summary.dropped] == [("b", 2, True, "beside")]
    assert summary.forgotten == [f"fov/{there['b']['fingerprint']}"]
    table = f"emb_fov_{there['b']['fingerprint'][:12]}"
    after = contents(store)
    assert {t: rows for t, rows in after.items() if t != "encoders"} == {
        t: rows for t, rows in before.items() if t not in ("encoders", table)
    }
    maintain(atlas=atlas, drop_encoders=["a"])
    assert [f for f in verify(atlas=atlas).findings if f.severity != "note"] == []  # though x has no vector now
    import_embeddings(tmp_path / "v.npz", atlas=atlas, name="a")
    again = import_embeddings(tmp_path / "v.npz", atlas=atlas, name="b")
    assert (again["imported"], again["encoder"]) == (2, there["b"])
    assert contents(store) == before


def test_who_waits_for_a_deletion_is_told_by_which_options(
    atlas: Path, store: Store, old: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    reembedding = type(store.folder).reembedding

    def noted(it: Any, command: str) -> Any:
        commands.append(command)
        return reembedding(it, command)

    monkeypatch.setattr(type(store.folder), "reembedding", noted)
    maintain(atlas=atlas, drop_superseded=True, drop_encoders=[old.fingerprint])
    maintain(atlas=atlas, drop_superseded=True)
    assert commands == ["maintain --drop-superseded --drop-encoder", "maintain --drop-superseded"]


def test_one_that_was_current_once_stays_known_and_one_that_answers_is_not_deleted(
    atlas: Path, store: Store, old: StoredEncoder
) -> None:
    now = encoders.current(store, "fov")
    assert now is not None
    before = versions(store)
    for name, said in (
        (now.fingerprint, "is current at level fov, so its vectors stay; `locatlas reembed --encoder NAME`"),
        (now.spec.name, "is in this atlas several times; name one by fingerprint"),
    ):
        with pytest.raises(InputError, match=said):
            maintain(atlas=atlas, drop_encoders=[old.fingerprint, name])
    assert versions(store) == before
    summary = maintain(atlas=atlas, drop_encoders=[old.fingerprint])
    assert ([v.fingerprint for v in summary.dropped], summary.forgotten) == ([old.fingerprint], [])
    assert {e.fingerprint for e in encoders.stored_encoders(store)} == {old.fingerprint, now.fingerprint}
    with (
        store.folder.reembedding("reembed", "run"),
        pytest.raises(AtlasLockedError, match=r"its vectors are being renewed \(`reembed`"),
    ):
        maintain(atlas=atlas, drop_encoders=[old.fingerprint])


def test_a_second_run_does_nothing(atlas: Path, store: Store, old: StoredEncoder) -> None:
    maintain(atlas=atlas, drop_superseded=True)
    before = versions(store)
    summary = maintain(atlas=atlas, drop_superseded=True)
    assert (summary.dropped, summary.kept, summary.freed_bytes) == ([], [], 0)
    assert versions(store) == before


def test_an_encoder_whose_vectors_were_deleted_can_be_embedded_again(
    atlas: Path, store: Store, old: StoredEncoder
) -> None:
    before = contents(store)[old.table]
    maintain(atlas=atlas, drop_superseded=True)
    assert embed(atlas=atlas, request=EncoderRequest(mapping="natural")).embedded == 6
    assert contents(store)[old.table] == before
    now = encoders.current(store, "fov")
    assert now is not None
    assert now.fingerprint == old.fingerprint


def test_who_asks_for_deleted_vectors_is_told_how_to_get_them_back(
    atlas: Path, store: Store, old: StoredEncoder
) -> None:
    maintain(atlas=atlas, drop_superseded=True)
    how = f"locatlas reembed --encoder {old.fingerprint[:12]}"
    with pytest.raises(InputError, match=f"no vectors at level fov, .*`{how}`"):
        open_atlas(atlas).neighbors(id=id_of(1), encoder=old.fingerprint)


def test_imported_vectors_are_kept_because_no_image_could_give_them_back(
    tmp_path: Path, source: Path, plain: None
) -> None:
    np.savez(tmp_path / "v.npz", ids=np.array(["x", id_of(0)]), vectors=np.ones((2, 3), np.float32))
    import_embeddings(tmp_path / "v.npz", atlas=tmp_path / "atlas", name="elsewhere", dataset="opencell")
    index(source, atlas=tmp_path / "atlas", dataset="opencell")
    summary = maintain(atlas=tmp_path / "atlas", drop_superseded=True)
    assert (summary.dropped, [(v.name, v.imported) for v in summary.kept]) == ([], [("elsewhere", True)])


def test_vectors_are_not_deleted_under_a_re_embedding(atlas: Path, store: Store, old: StoredEncoder) -> None:
    with (
        store.folder.reembedding("reembed", "run"),
        pytest.raises(AtlasLockedError, match=r"its vectors are being renewed \(`reembed`"),
    ):
        maintain(atlas=atlas, drop_superseded=True)
    assert store.count(old.table) == 6


@pytest.mark.parametrize("killed_at", some(["the renaming", "the deleting", "the index"], 1))
def test_a_deletion_that_was_killed_is_completed(
    atlas: Path, store: Store, old: StoredEncoder, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise KilledError

    build(store, old, "flat")
    owner, name = {
        "the renaming": (Path, "rename"),
        "the deleting": (shutil, "rmtree"),
        "the index": (Path, "unlink"),
    }[killed_at]
    unlink = Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        if killed_at == "the index":  # notes of locks are removed all the same
            patch.setattr(Path, name, lambda p, **o: die() if p.parent == store.folder.indices else unlink(p, **o))
        with pytest.raises(KilledError):
            maintain(atlas=atlas, drop_superseded=True)
    assert open_atlas(atlas).neighbors(id=id_of(1), k=3, exclude="self").num_rows == 3
    assert store.has(old.table) == (killed_at == "the renaming")
    maintain(atlas=atlas, drop_superseded=True)
    assert not store.has(old.table)
    assert list(store.folder.indices.iterdir()) == []
    assert [n for n in os.listdir(store.folder.db) if not n.endswith(".lance")] == []
