"""What a repair mends, what it leaves, and that what it takes out can be had back."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from locatlas.errors import AtlasLockedError
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.opening import open_index
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import tidy_limits
from locatlas.indexer.store.schema import QUARANTINE
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from locatlas.models.crops import CropPlan
from tests.indexer.made import contents
from tests.indexer.verify.whole import add_rows, changed, current, files_of, flip, kinds, newest, rows_of
from tests.quick import some

REQUEST = EncoderRequest(crop=CropPlan(size_px=9))


def damage(path: Path) -> None:
    flip(path, path.stat().st_size // 2, 3)


def set_aside(atlas: Path) -> list[str]:
    return sorted(p.name for p in files_of(atlas) if "damaged" in p.parts)


def index_again(atlas: Path, original: Path) -> None:
    fields = original.parent / "fields"
    index(fields, atlas=atlas, dataset="manifest", level="both", request=REQUEST, commit_rows=2)


def without_runs(atlas: Path) -> dict[str, object]:
    return contents(Store.open(atlas))


def assert_whole(atlas: Path) -> None:
    report = verify(atlas=atlas)
    assert [f for f in report.findings if f.severity != "note"] == []


@pytest.mark.parametrize("level", some(["fov", "cell"], 0))
def test_vectors_of_a_damaged_file_are_made_again_bit_for_bit(whole: Path, original: Path, level: str) -> None:
    table = current(Store.open(whole), level).table
    data = newest(whole, table, "data")
    damage(data)
    report = verify(atlas=whole, repair=True)
    assert report.damage == []
    assert any(line.startswith(f"{table}: ") and line.endswith(" vectors made again") for line in report.repaired)
    assert set_aside(whole) == [data.name]
    assert without_runs(whole) == without_runs(original)
    assert_whole(whole)
    assert verify(atlas=whole, repair=True).repaired == []


def test_vectors_whose_images_are_not_at_hand_are_told_with_the_command(whole: Path, original: Path) -> None:
    store = Store.open(whole)
    store.folder.write_info({**store.folder.info(), "roots": {"manifest": str(whole / "nowhere")}})
    encoder = current(store, "cell")
    damage(newest(whole, encoder.table, "data"))
    report = verify(atlas=whole, repair=True)
    assert report.damage == []
    assert f"`locatlas verify --repair --atlas {whole}` again" in report.repaired[-1]
    assert [(f.severity, f.where) for f in report.findings if f.kind == "rows taken out"] == [
        ("warning", encoder.table)
    ]
    assert "could not be made again" in report.repaired[-1]


@pytest.mark.parametrize("table", some(["fovs", "cells"], 1))
def test_rows_of_images_come_back_with_the_next_index(whole: Path, original: Path, table: str) -> None:
    damage(newest(whole, table, "data"))
    report = verify(atlas=whole)
    assert "locatlas index" in report.damage[0].do
    report = verify(atlas=whole, repair=True)
    assert report.damage == []
    assert any(line.startswith(f"{table}: ") and "taken out" in line for line in report.repaired)
    index_again(whole, original)
    assert_whole(whole)
    assert without_runs(whole) == without_runs(original)


def test_annotations_are_set_aside_and_said_to_be_in_a_backup_or_their_sheets(whole: Path) -> None:
    data = newest(whole, "annotations", "data")
    damage(data)
    damaged = data.read_bytes()
    assert "backup" in verify(atlas=whole).damage[0].do
    assert verify(atlas=whole, repair=True).damage == []
    aside = next(p for p in files_of(whole) if "damaged" in p.parts)
    assert aside.read_bytes() == damaged


@pytest.mark.parametrize("table", ["encoders", "segmenters"])
def test_what_others_mean_nothing_without_is_left_alone_and_said(whole: Path, table: str) -> None:
    damage(newest(whole, table, "data"))
    before = newest(whole, table, "data").read_bytes()
    report = verify(atlas=whole, repair=True)
    assert [f.where for f in report.damage] == [f"db/{table}.lance"]
    assert f"restore db/{table}.lance from a backup" in report.damage[0].do
    assert newest(whole, table, "data").read_bytes() == before


@pytest.mark.parametrize("table", some(["fovs", "cells", "runs"], 1))
def test_a_damaged_newest_version_gives_way_to_the_one_before(whole: Path, original: Path, table: str) -> None:
    manifest = newest(whole, table, "_versions")
    damage(manifest)
    before = Store.open(original).version(table)
    report = verify(atlas=whole, repair=True)
    assert report.damage == []
    assert manifest.name in set_aside(whole)
    assert Store.open(whole).version(table) < before or table == "fovs"
    index_again(whole, original)
    left = [(f.where, f.severity) for f in verify(atlas=whole).findings if f.kind == "rows taken out"]
    # of cells it is known which were missing; of the others only that a version gave way
    assert left == {"fovs": [("fovs", "warning")], "cells": [], "runs": [("runs", "note")]}[table]
    verify(atlas=whole, accept_losses=True)
    assert_whole(whole)
    if table != "runs":
        assert without_runs(whole) == without_runs(original)


@pytest.mark.slow
def test_a_damaged_newest_version_gives_way_after_old_ones_were_removed(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy_limits, "SUPERSEDED_FOR_S", 0)
    table = current(Store.open(whole), "cell").table
    maintain(atlas=whole)
    damage(newest(whole, table, "_versions"))
    assert verify(atlas=whole, repair=True).damage == []


def test_of_the_only_version_of_a_table_it_is_said_that_a_backup_is_needed(whole: Path) -> None:
    only = newest(whole, "fovs", "_versions")
    digests = Store.open(whole).digests
    others = [p for p in only.parent.glob("*.manifest") if p != only]
    with digests.removing([p.relative_to(whole).as_posix() for p in others]):
        for path in others:
            path.unlink()
    damage(only)
    for report in (verify(atlas=whole), verify(atlas=whole, repair=True)):
        told = [f.do for f in report.damage if f.kind == "file changed"]
        assert told == ["restore db/fovs.lance from a backup: no other version of it is there that could answer"]


def test_a_table_whose_deletion_was_killed_is_left_to_maintain(whole: Path) -> None:
    left = whole / "db" / ".dropped-emb_fov_0123456789ab" / "data" / "a.lance"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"rows")
    told = [(f.kind, f.do) for f in verify(atlas=whole).findings]
    assert told == [("deletion stopped", "run `locatlas maintain`")]
    verify(atlas=whole, repair=True)
    assert left.exists()
    maintain(atlas=whole)
    assert not left.exists()
    assert verify(atlas=whole).findings == []


@pytest.mark.parametrize("do", [damage, Path.unlink])
def test_what_no_version_in_use_needs_is_set_aside(whole: Path, original: Path, do: Callable[[Path], None]) -> None:
    do(newest(whole, "fovs", "_transactions"))
    do(max((whole / "db" / "cells.lance" / "_versions").glob("*.manifest")))
    assert len(verify(atlas=whole).damage) == 2
    assert verify(atlas=whole, repair=True).findings == []
    assert without_runs(whole) == without_runs(original)


def test_a_damaged_deletion_gives_its_rows_up_and_never_back(whole: Path) -> None:
    damage(newest(whole, "annotations", "_deletions"))
    assert verify(atlas=whole, repair=True).damage == []
    assert Store.open(whole).count("annotations") == 0


@pytest.mark.parametrize("end", ["faiss", "ids"])
@pytest.mark.parametrize("do", [damage, Path.unlink])
def test_a_damaged_index_is_built_again(whole: Path, end: str, do: Callable[[Path], None], one_thread: None) -> None:
    do(next((whole / "indices").glob(f"*.{end}")))
    report = verify(atlas=whole, repair=True)
    assert report.findings == []
    store = Store.open(whole)
    encoder = current(store, "fov")
    assert report.repaired[-1].startswith(f"{encoder.table}: FAISS flat over {store.count(encoder.table)} vectors")
    assert open_index(store, encoder, store.read_vectors(encoder.table))[1] == "up to date"
    assert verify(atlas=whole).findings == []


@pytest.mark.parametrize(
    ("part", "do"),
    some(
        itertools.product(["rows.npy", "ids.arrow", "codes.lance/_indices/*/auxiliary.idx"], [damage, Path.unlink]),
        1,
        4,
    ),
)
def test_a_damaged_index_on_disk_is_built_again(
    whole: Path, part: str, do: Callable[[Path], None], one_thread: None
) -> None:
    store = Store.open(whole)
    encoder = current(store, "fov")
    build(store, encoder, "lance-ivfrq")
    assert verify(atlas=whole).findings == []
    damaged = next((whole / "indices").glob("*.disk"))
    do(next(damaged.glob(part)))
    report = verify(atlas=whole, repair=True)
    assert report.findings == []
    assert not damaged.exists()
    assert report.repaired[-1].startswith(f"{encoder.table}: lance-ivfrq on disk over {store.count(encoder.table)}")
    assert open_index(store, encoder, store.read_vectors(encoder.table))[1] == "up to date"
    assert verify(atlas=whole).findings == []


@pytest.mark.parametrize("do", [damage, Path.unlink])
def test_an_index_of_which_nothing_says_the_kind_is_removed(whole: Path, do: Callable[[Path], None]) -> None:
    do(next((whole / "indices").glob("*.json")))
    report = verify(atlas=whole, repair=True)
    assert report.findings == []
    assert list((whole / "indices").iterdir()) == []
    assert report.repaired[-1].endswith("exact search (3 vectors)")


def test_of_ids_that_occur_twice_the_one_written_last_stays(whole: Path) -> None:
    store = Store.open(whole)
    add_rows(store, "fovs", changed(rows_of(store, "fovs"), protein="LAST"))
    add_rows(store, "fovs", changed(rows_of(store, "fovs"), id="bad\n", n_cells=0))
    name = rows_of(store, "fovs").slice(0, 1)["id"][0].as_py()
    assert verify(atlas=whole, repair=True).damage == []
    held = {row["id"]: row["protein"] for row in store.read("fovs").to_pylist()}
    assert held[name] == "LAST"
    assert len(held) == 3


def test_of_which_duplicate_was_written_last_after_a_merge_no_more_is_said_than_is_known(whole: Path) -> None:
    store = Store.open(whole)
    kept = "--repair keeps the one that was written last"
    add_rows(store, "quarantine", quarantined(["a", "b"], "first"))
    add_rows(store, "quarantine", quarantined(["c"], "first"))
    add_rows(store, "quarantine", quarantined(["a", *map(str, range(50))], "last"))

    def said() -> str:
        return next(f.do for f in verify(atlas=whole, quick=True).damage if f.kind == "duplicate ids")

    assert said() == kept
    merging = lance.dataset(str(whole / "db" / "quarantine.lance"))
    merging.optimize.compact_files(target_rows_per_fragment=10)
    store.digests.take(["quarantine"])
    assert said().startswith("--repair keeps one of them: ")
    assert "does not tell any more which was written last" in said()
    assert verify(atlas=whole, repair=True).damage == []
    assert sorted(store.read("quarantine")["id"].to_pylist()) == sorted(["a", "b", "c", *map(str, range(50))])


def quarantined(ids: list[str], reason: str) -> pa.Table:
    texts = {name: ["x"] * len(ids) for name in QUARANTINE.names}
    return pa.table({**texts, "id": ids, "reason": [reason] * len(ids)}, schema=QUARANTINE)


def test_orphan_and_broken_vectors_are_deleted(whole: Path, original: Path) -> None:
    store = Store.open(whole)
    encoder = current(store, "fov")
    ones = np.ones((1, encoder.spec.dim), np.float32)
    store.put_embeddings("fov", encoder.fingerprint, ["nobody"], ["x"], ones)
    store.delete(encoder.table, ["manifest/b"])
    rows = rows_of(store, encoder.table)
    add_rows(store, encoder.table, changed(rows, id="manifest/b", vector=[float("inf")] * encoder.spec.dim))
    report = verify(atlas=whole, repair=True)
    assert report.findings == [f for f in report.findings if f.kind == "index stale"]
    assert without_runs(whole) == without_runs(original)


@pytest.mark.parametrize(
    ("name", "do"),
    some(
        itertools.product(
            ["files.jsonl", "head.json"], [damage, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])]
        ),
        0,
        2,
        4,
    ),
)
def test_a_damaged_journal_is_written_anew(whole: Path, name: str, do: Callable[[Path], None]) -> None:
    do(whole / "digests" / name)
    before = verify(atlas=whole)
    if name == "files.jsonl" or do is damage:
        assert before.damage
    assert verify(atlas=whole, repair=True).damage == []
    assert [f for f in verify(atlas=whole).findings if f.severity != "note"] == []
    assert newest(whole, "fovs", "data").name in (whole / "digests" / "files.jsonl").read_text()


def test_atlas_json_is_written_anew_and_roots_are_declared_by_the_next_index(whole: Path, original: Path) -> None:
    (whole / "atlas.json").write_text("{")
    assert kinds(verify(atlas=whole)) == ["atlas.json damaged"]
    report = verify(atlas=whole, repair=True)
    assert report.damage == []
    assert set_aside(whole) == ["atlas.json"]
    index_again(whole, original)
    assert_whole(whole)
    assert without_runs(whole) == without_runs(original)


def test_an_edited_atlas_json_is_sealed_as_it_is(whole: Path) -> None:
    text = (whole / "atlas.json").read_text()
    (whole / "atlas.json").write_text(text.replace('"manifest": "', '"manifest": "/moved'))
    verify(atlas=whole, repair=True)
    assert verify(atlas=whole).findings == []
    assert Store.open(whole).folder.info()["roots"]["manifest"].startswith("/moved")


def test_files_that_nothing_knows_are_moved_and_not_deleted(whole: Path) -> None:
    (whole / "db" / "notes.txt").write_text("mine")
    assert verify(atlas=whole, repair=True).findings == []
    assert [p.read_text() for p in files_of(whole) if p.name == "notes.txt"] == ["mine"]


def test_a_table_that_is_gone_is_not_expected_any_more(whole: Path, original: Path) -> None:
    encoder = current(Store.open(whole), "fov")
    shutil.rmtree(whole / "db" / f"{encoder.table}.lance")
    report = verify(atlas=whole, repair=True)
    assert [f.kind for f in report.damage] == ["table missing"]
    assert "locatlas reembed" in report.damage[0].do
    index_again(whole, original)
    assert without_runs(whole) == without_runs(original)


def test_a_repair_does_not_meet_a_writer(whole: Path) -> None:
    folder = Store.open(whole).folder
    with folder.reembedding("reembed"), pytest.raises(AtlasLockedError):
        verify(atlas=whole, repair=True)


def test_nothing_is_repaired_where_nothing_is_wrong(whole: Path) -> None:
    before = {p: p.read_bytes() for p in files_of(whole)}
    assert verify(atlas=whole, repair=True).repaired == []
    assert {p: p.read_bytes() for p in files_of(whole)} == before
