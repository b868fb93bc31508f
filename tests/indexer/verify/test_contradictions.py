"""Tables that contradict themselves or each other, made past the store; atlases that are written or old."""

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from locatlas.errors import InputError
from locatlas.indexer.backup.restore import restore
from locatlas.indexer.index import index
from locatlas.indexer.indices.build import build
from locatlas.indexer.store import encoders
from locatlas.indexer.store.digests import Digests, read_journal
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.schema import SCHEMA_VERSION
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify import indices
from locatlas.indexer.verify.run import verify
from tests.indexer.made import write_collection
from tests.indexer.old_atlases import make_old
from tests.indexer.verify.whole import add_rows, changed, current, kinds, newest, rows_of
from tests.quick import some


@pytest.fixture
def store(whole: Path) -> Store:
    return Store.open(whole)


def test_ids_that_occur_twice_are_damage(whole: Path, store: Store) -> None:
    add_rows(store, "fovs", rows_of(store, "fovs").slice(0, 2))
    report = verify(atlas=whole, quick=True)
    assert [(f.kind, f.where, f.count) for f in report.damage] == [("duplicate ids", "fovs", 2)]
    assert report.damage[0].examples == ("manifest/a", "manifest/b")


@pytest.mark.parametrize("bad", ["", "line\nbreak", "e\u0301"])
def test_ids_that_cannot_be_looked_up_are_damage(whole: Path, store: Store, bad: str) -> None:
    add_rows(store, "fovs", changed(rows_of(store, "fovs"), id=bad, n_cells=0))
    report = verify(atlas=whole, quick=True)
    assert [(f.kind, f.examples) for f in report.damage] == [("ill-formed ids", (repr(bad),))]


def test_vectors_without_image_and_of_other_pixels_are_told_and_no_damage(whole: Path, store: Store) -> None:
    encoder = current(store, "fov")
    vectors = np.ones((2, encoder.spec.dim), np.float32)
    store.put_embeddings("fov", encoder.fingerprint, ["manifest/a", "nobody"], ["other", "x"], vectors)
    report = verify(atlas=whole, quick=True)
    assert kinds(report) == []
    assert [(f.kind, f.examples) for f in report.findings if f.where == encoder.table] == [
        ("orphan vectors", ("nobody",)),
        ("stale vectors", ("manifest/a",)),
    ]


def test_cells_without_their_field_and_fields_without_their_cells_are_told(whole: Path, store: Store) -> None:
    store.delete("fovs", ["manifest/b"])
    store.delete("cells", ["manifest/a/7"])
    report = verify(atlas=whole, quick=True)
    found = {f.kind: f.examples for f in report.findings}
    assert found["cells without field"] == ("manifest/b/1",)
    assert found["cells missing"] == ("manifest/a",)


def test_vectors_of_zeros_are_told_by_a_full_look(whole: Path, store: Store) -> None:
    table = current(store, "cell").table
    encoder = current(store, "cell")
    zeros = np.zeros((1, encoder.spec.dim), np.float32)
    one = rows_of(store, table).slice(0, 1).to_pydict()
    store.put_embeddings("cell", encoder.fingerprint, one["id"], one["source_digest"], zeros)
    report = verify(atlas=whole)
    assert report.damage == []
    assert [(f.severity, f.where, f.examples) for f in report.findings if f.kind == "zero vectors"] == [
        ("note", table, tuple(one["id"]))
    ]
    assert "zero vectors" not in [f.kind for f in verify(atlas=whole, quick=True).findings]


def test_vectors_that_are_not_finite_are_found_by_a_full_look(whole: Path, store: Store) -> None:
    table = current(store, "cell").table
    rows = rows_of(store, table)
    add_rows(store, table, changed(rows, id="manifest/x", vector=[float("nan")] * len(rows["vector"][0])))
    assert "vectors not finite" not in kinds(verify(atlas=whole, quick=True))
    report = verify(atlas=whole)
    assert [(f.kind, f.examples) for f in report.damage] == [("vectors not finite", ("manifest/x",))]


def test_encoders_and_their_tables_must_fit(whole: Path, store: Store) -> None:
    now = current(store, "fov")
    other = StoredEncoder("fov", now.spec.with_changes(mapping="random", mapping_seed=9), "current")
    encoders.put(store, other)
    wrong = StoredEncoder("fov", now.spec.with_changes(mapping="random", mapping_seed=8), "building")
    encoders.put(store, wrong)
    store.put_embeddings("fov", wrong.fingerprint, ["manifest/a"], ["x"], np.ones((1, 3), np.float32))
    store.put_embeddings("fov", "f" * 64, ["manifest/a"], ["x"], np.ones((1, 3), np.float32))
    found = {f.kind: f.where for f in verify(atlas=whole, quick=True).findings}
    assert found["several current"] == "encoders"
    assert found["table missing"] == other.table
    assert found["other dimension"] == wrong.table
    assert found["unknown vectors"] == "encoders"


def test_a_spec_that_is_not_that_of_its_fingerprint_is_damage(whole: Path, store: Store) -> None:
    rows = store.read("encoders").to_pylist()
    rows[0]["spec"] = rows[1]["spec"]
    store.upsert("encoders", pa.Table.from_pylist(rows, schema=store.read("encoders").schema))
    assert "other encoder" in kinds(verify(atlas=whole, quick=True))


def test_the_index_of_another_table_is_damage_and_an_old_one_is_not(whole: Path, store: Store) -> None:
    fov, cell = current(store, "fov"), current(store, "cell")
    for end in ("faiss", "ids", "json"):
        original = store.folder.indices / f"{fov.table}.{end}"
        (store.folder.indices / f"{cell.table}.{end}").write_bytes(original.read_bytes())
    assert [(f.kind, f.where) for f in verify(atlas=whole, quick=True).damage] == [
        ("index foreign", f"indices/{cell.table}.json")
    ]
    build(store, cell, "flat")
    assert verify(atlas=whole).findings == []
    held = store.read_vectors(cell.table)
    store.put_embeddings("cell", cell.fingerprint, held.ids[:1], held.digests[:1], held.vectors[:1] + 1)
    assert kinds(verify(atlas=whole)) == []
    assert kinds(verify(atlas=whole), "note") == ["index stale"]


def test_vectors_of_an_index_are_compared_in_parts(whole: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []
    take = lance.LanceDataset.take

    def counted(self: lance.LanceDataset, rows: pa.Array, **options: object) -> pa.Table:
        parts.append(len(rows))
        return take(self, rows, **options)

    monkeypatch.setattr(lance.LanceDataset, "take", counted)
    monkeypatch.setattr(indices, "_SLAB_BYTES", 1)
    assert verify(atlas=whole).findings == []
    fov = current(store, "fov")
    held = store.read_vectors(fov.table).take([1])
    assert parts == [1, 1, 1]
    store.put_embeddings("fov", fov.fingerprint, held.ids, held.digests, held.vectors + np.float32(0.5))
    assert [f.kind for f in verify(atlas=whole).findings] == ["index stale"]


def test_files_that_nothing_knows_are_told(whole: Path) -> None:
    for name in ("notes.txt", "db/fovs.lance/data/copy.bak", "indices/other"):
        (whole / name).write_text("x")
    report = verify(atlas=whole, quick=True)
    assert [(f.kind, f.count) for f in report.findings] == [("unknown files", 3)]


def test_an_atlas_json_edited_by_hand_is_told_and_still_opens(whole: Path) -> None:
    info = json.loads((whole / "atlas.json").read_text())
    info["roots"]["manifest"] = "/elsewhere"
    (whole / "atlas.json").write_text(json.dumps(info, indent=2, sort_keys=True) + "\n")
    assert kinds(verify(atlas=whole, quick=True)) == ["atlas.json changed"]
    assert Store.open(whole).folder.info()["roots"] == {"manifest": "/elsewhere"}


def test_files_of_a_run_that_died_before_their_digests_are_told_and_taken_in(whole: Path, store: Store) -> None:
    rows = rows_of(store, "fovs")
    lance.write_dataset(
        changed(rows, id="manifest/late", n_cells=0), str(store.folder.db / "fovs.lance"), mode="append"
    )
    report = verify(atlas=whole)
    assert report.damage == []
    assert [(f.kind, f.count) for f in report.findings if f.severity == "warning"] == [("no digest", 2)]
    with store.folder.writer("index"):
        assert Store.open(whole).take_late_digests() == 3
    report = verify(atlas=whole)
    assert [(f.severity, f.kind, f.count) for f in report.findings] == [("note", "digests late", 3)]
    data = newest(whole, "fovs", "data")
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    assert kinds(verify(atlas=whole)) == ["file changed"]


def test_a_journal_torn_in_its_last_line_is_no_damage_and_the_next_writer_mends_it(whole: Path, store: Store) -> None:
    journal = whole / "digests" / "files.jsonl"
    whole_lines = journal.read_bytes()
    with journal.open("ab") as f:
        f.write(whole_lines.splitlines()[-1][:40])
    report = verify(atlas=whole)
    assert [(f.severity, f.kind) for f in report.findings] == [("note", "journal torn")]
    with store.folder.writer("x"):
        store.delete("annotations", ["nobody"])
    assert verify(atlas=whole).findings == []
    assert journal.read_bytes().startswith(whole_lines)


@pytest.mark.parametrize("version", [1, 2])
def test_digests_of_an_older_atlas_begin_with_the_first_run_that_writes(tmp_path: Path, version: int) -> None:
    folder = make_old(tmp_path / "old", version)
    report = verify(atlas=folder.path)
    assert (kinds(report), kinds(report, "warning")) == ([], ["no digests", "unknown vectors"])
    assert folder.info()["schema_version"] == version  # looked at, not upgraded
    store = Store.open(folder.path)
    with store.folder.writer("index"):
        store.delete("fovs", ["d/a"])
    report = verify(atlas=folder.path)
    assert report.digests_since is not None
    assert report.digests_since == store.folder.info()["digests_since"]
    assert "no digests" not in kinds(report, "warning")
    assert store.folder.info()["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize("version", some([1, 2], 1))
def test_an_upgrade_of_an_atlas_that_has_digests_takes_them_and_what_it_keeps_is_an_atlas_without(
    tmp_path: Path, version: int
) -> None:
    folder = make_old(tmp_path / "old", version)
    verify(atlas=folder.path, repair=True)
    assert "no digests" not in kinds(verify(atlas=folder.path), "warning")
    Store.open(folder.path)
    assert folder.info()["schema_version"] == SCHEMA_VERSION
    report = verify(atlas=folder.path)
    assert (kinds(report), kinds(report, "warning")) == ([], ["unknown vectors"])
    assert "digests late" not in kinds(report, "note")
    restore(folder.path / "before-upgrade" / f"schema-{version}", to=tmp_path / "again")
    report = verify(atlas=tmp_path / "again")
    assert (kinds(report), kinds(report, "warning")) == ([], ["no digests", "unknown vectors"])


def test_an_atlas_that_can_only_be_read_is_verified_and_not_touched(original: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in original.rglob("*")}
    assert verify(atlas=original).findings == []
    assert {p: p.stat().st_mtime_ns for p in original.rglob("*")} == before


def test_what_is_no_atlas_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing: not an atlas \(no such folder\)"):
        verify(atlas=tmp_path / "nothing")
    with pytest.raises(InputError, match=r"not an atlas \(no atlas.json in it\)"):
        verify(atlas=tmp_path)


@pytest.mark.slow
def test_verifying_while_another_thread_commits_finds_no_damage(tmp_path: Path, plain: None) -> None:
    source, atlas = write_collection(tmp_path / "source", range(24)), tmp_path / "atlas"
    index(write_collection(tmp_path / "first", range(2)), atlas=atlas, dataset="opencell", name="first")
    worker = threading.Thread(
        target=lambda: index(source, atlas=atlas, dataset="opencell", name="second", commit_rows=1)
    )
    worker.start()
    reports = []
    while worker.is_alive():
        reports.append(verify(atlas=atlas))
    worker.join()
    assert len(reports) > 3
    assert [f for report in reports for f in report.damage] == []
    report = verify(atlas=atlas)
    assert (report.findings, report.tables["fovs"]) == ([], 26)


HOLDER = """
import sys
from pathlib import Path
from locatlas.indexer.store.layout import AtlasFolder
with AtlasFolder.open(Path(sys.argv[1])).writer("index"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_who_writes_meanwhile_is_told_and_what_they_have_not_committed_is_left_out(whole: Path, store: Store) -> None:
    rows = rows_of(store, "fovs")
    command = [sys.executable, "-c", HOLDER, str(whole)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        path = str(store.folder.db / "fovs.lance")
        lance.write_dataset(changed(rows, id="manifest/now", n_cells=0), path, mode="append")
        report = verify(atlas=whole)
        assert report.findings == []
        assert report.writers == [f"`index`, process {process.pid} on {os.uname().nodename}"]
        process.communicate("\n")
    assert kinds(verify(atlas=whole), "warning") == ["no digest"]


def test_a_deletion_that_was_said_beforehand_and_killed_is_no_damage(whole: Path, store: Store) -> None:
    journal = read_journal(store.folder)
    assert journal is not None
    gone = next(path for path in journal.files if "/_transactions/" in path)
    with ExitStack() as killed:
        killed.enter_context(Digests(store.folder).removing([gone]))
        killed.pop_all()  # without what stands after the block
        (whole / gone).unlink()
    report = verify(atlas=whole)
    assert [(f.severity, f.kind) for f in report.findings] == [("note", "deletion stopped")]
    Digests(store.folder).settle()
    assert verify(atlas=whole).findings == []
