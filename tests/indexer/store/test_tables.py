"""Tables: keyed upserts from several processes, tables whose making was killed, reads, damage, compaction."""

import shutil
import signal
from contextlib import ExitStack
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from locatlas.errors import LocatlasError, SchemaMismatchError, StoreDamagedError, UnknownNameError
from locatlas.indexer.store import tables as store_module
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import FOVS, QUARANTINE, SCHEMA_VERSION, embedding_schema
from locatlas.indexer.store.tables import Store
from locatlas.interrupts import StopRequested
from tests.forking import Forks
from tests.indexer.store.test_row_checks import ROW

FINGERPRINT = "0123456789ab" + "c" * 52
TABLE = "emb_fov_0123456789ab"
PRIMARY_KEY = b"lance-schema:unenforced-primary-key:position"


def put(store: Store, ids: list[str], vectors: Any = None, digest: str = "x") -> None:
    array = np.ones((len(ids), 4), np.float32) if vectors is None else np.asarray(vectors, np.float32)
    store.put_embeddings("fov", FINGERPRINT, ids, [digest] * len(ids), array)


def has_key(store: Store, table: str) -> bool:
    return PRIMARY_KEY in (store._dataset(table).schema.field("id").metadata or {})


def test_an_upsert_inserts_and_replaces_by_id_in_one_commit(empty: Store) -> None:
    put(empty, ["a", "b"])
    version = empty.version(TABLE)
    put(empty, ["b", "c"], [[1, 2, 3, 4], [5, 6, 7, 8]], digest="y")
    assert empty.version(TABLE) == version + 1
    assert [(r["id"], r["source_digest"], r["vector"][1]) for r in empty.read(TABLE).to_pylist()] == [
        ("a", "x", 1.0),
        ("b", "y", 2.0),
        ("c", "y", 6.0),
    ]


def test_vectors_that_are_fewer_than_the_manifest_says_are_refused(
    empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(empty, ["a", "b"])
    monkeypatch.setattr("lance.LanceDataset.count_rows", lambda *_: 3)
    with pytest.raises(StoreDamagedError, match=rf"{TABLE}\.lance: its manifest says 3 rows, 2 can be read"):
        empty.read_vectors(TABLE)


def test_the_key_is_declared_when_a_table_is_made(empty: Store) -> None:
    put(empty, ["a"])
    empty.upsert("fovs", image_rows([ROW], "fov"))
    assert has_key(empty, TABLE)
    assert has_key(empty, "fovs")


def test_a_table_has_its_key_from_its_first_version_on(empty: Store) -> None:
    put(empty, ["a"])
    first = lance.dataset(str(empty._path(TABLE)), version=1)
    assert (first.count_rows(), first.schema.field("id").metadata) == (0, {PRIMARY_KEY: b"1"})


def test_the_key_is_declared_later_if_an_earlier_version_died_before_it(empty: Store) -> None:
    lance.write_dataset(embedding_schema(4).empty_table(), str(empty._path(TABLE)))
    assert not has_key(empty, TABLE)
    put(Store.open(empty.folder.path), ["a"])
    assert has_key(empty, TABLE)


def test_lancedb_reads_and_writes_the_same_tables(empty: Store) -> None:
    """The oracle is LanceDB: an atlas is a database of its own."""
    import lancedb

    put(empty, ["a", "b'c"])
    theirs = lancedb.connect(str(empty.folder.db))
    assert theirs.open_table(TABLE).to_arrow().equals(empty.read(TABLE))
    theirs.open_table(TABLE).delete("id = 'a'")
    put(empty, ["d"])
    assert theirs.open_table(TABLE).to_arrow()["id"].to_pylist() == empty.read(TABLE)["id"].to_pylist() == ["b'c", "d"]
    empty.delete(TABLE, ["b'c", "absent"])
    assert theirs.open_table(TABLE).count_rows() == empty.count(TABLE) == 1


@pytest.mark.parametrize("left", ["", "_versions", "_transactions"])
def test_a_table_whose_making_was_killed_counts_as_absent_and_is_made(empty: Store, left: str) -> None:
    (empty.folder.db / "fovs.lance" / left).mkdir(parents=True)
    if left == "_transactions":
        (empty.folder.db / "fovs.lance" / left / "0-half.txn").write_bytes(b"half")
    assert not empty.has("fovs")
    assert empty.tables() == []
    assert empty.read("fovs").num_rows == 0
    empty.upsert("fovs", image_rows([ROW], "fov"))
    assert empty.read("fovs", ["id"])["id"].to_pylist() == ["d/a"]


def test_data_whose_versions_are_gone_are_damage_and_not_a_new_table(empty: Store) -> None:
    put(empty, ["a"])
    shutil.rmtree(empty.folder.db / f"{TABLE}.lance" / "_versions")
    for use in (lambda: put(empty, ["b"]), lambda: empty.read(TABLE), lambda: empty.tables()):
        with pytest.raises(StoreDamagedError, match=r"has data but no manifest; restore _versions/ from a backup"):
            use()


UPSERT_MANY = """
import sys
from pathlib import Path
import numpy as np
from locatlas.indexer.store.tables import Store

store = Store.open(Path(sys.argv[1]))
# digests are taken under the writer lock, which is left out: Lance removes files of commits that it tries again
store.digests.take = lambda *_, **__: 0
print("ready", flush=True)
sys.stdin.readline()
for part in range(6):
    ids = [f"n/{i:04d}" for i in range(part * 100, part * 100 + 100)]
    store.put_embeddings("fov", sys.argv[3], ids, [f"w{sys.argv[2]}"] * 100, np.ones((100, 4), np.float32))
"""


@pytest.mark.parametrize("with_scalar_index", [False, True])
def test_processes_that_upsert_the_same_new_ids_duplicate_none(
    empty: Store, commands: Forks, with_scalar_index: bool
) -> None:
    """Without the key Lance duplicates them, and with the key again once ids are indexed and the index used."""
    put(empty, ["n/9999"])
    if with_scalar_index:
        empty._writable(TABLE, empty._schema(TABLE)).create_scalar_index("id", "BTREE")
    with ExitStack() as stack:
        workers = [stack.enter_context(commands.start(UPSERT_MANY, empty.folder.path, n, FINGERPRINT)) for n in (0, 1)]
        assert [worker.stdout.readline() for worker in workers] == ["ready\n", "ready\n"]
        for worker in workers:
            worker.stdin.close()
        assert [worker.wait(60) for worker in workers] == [0, 0]
    ids = empty.read(TABLE, ["id"])["id"].to_pylist()
    assert len(ids) == 601
    assert len(set(ids)) == 601


@pytest.mark.parametrize(
    ("ids", "digests", "vectors"),
    [
        (["a"], ["x"], np.ones((1, 4), np.float64)),
        (["a"], ["x"], np.ones(4, np.float32)),
        (["a", "b"], ["x"], np.ones((1, 4), np.float32)),
        (["a"], ["x"], np.ones((2, 4), np.float32)),
        (["a"], [], np.ones((1, 4), np.float32)),
    ],
)
def test_ids_digests_and_vectors_must_be_as_many_and_float32(
    empty: Store, ids: list[str], digests: list[str], vectors: Any
) -> None:
    with pytest.raises(SchemaMismatchError, match=r"as many of each and float32 \(n, d\) needed; nothing was written"):
        empty.put_embeddings("fov", FINGERPRINT, ids, digests, vectors)
    assert empty.tables() == []


def test_vectors_of_another_length_name_both_lengths(empty: Store) -> None:
    put(empty, ["a"])
    with pytest.raises(SchemaMismatchError, match="holds vectors of 4 numbers, got 3; nothing was written"):
        put(empty, ["b"], np.ones((1, 3)))
    assert empty.count(TABLE) == 1


def test_a_table_with_other_columns_on_disk_is_not_written(empty: Store) -> None:
    lance.write_dataset(FOVS.empty_table().drop_columns(["thumbnail"]), str(empty.folder.db / "fovs.lance"))
    with pytest.raises(SchemaMismatchError, match="table fovs on disk has other columns than this locatlas writes"):
        empty.upsert("fovs", image_rows([ROW], "fov"))


def test_deletion_takes_ids_as_they_are_and_leaves_the_rest(empty: Store) -> None:
    hostile = ["it's", 'a"b', "x' OR '1'='1", "%", "d/é"]
    put(empty, [*hostile, "stays"])
    empty.delete(TABLE, ["x' OR '1'='1"])
    assert empty.count(TABLE) == 5
    empty.delete(TABLE, [*hostile, "never there"])
    assert empty.read(TABLE, ["id"])["id"].to_pylist() == ["stays"]
    empty.delete("quarantine", ["x"])
    assert empty.tables() == [TABLE]


def test_more_ids_than_one_expression_holds_are_deleted(empty: Store) -> None:
    ids = [f"i{n:05d}" for n in range(2500)]
    put(empty, ids)
    empty.delete(TABLE, ids[:2400])
    assert empty.count(TABLE) == 100


def test_rows_come_sorted_by_code_point_and_vectors_follow_their_ids(empty: Store) -> None:
    ids = ["b", "a", "é", "Z", "aa", "\U0001f52c", "\uff5a"]
    put(empty, ids, np.arange(len(ids) * 4).reshape(-1, 4))
    held = empty.read_vectors(TABLE)
    assert held.ids == sorted(ids) == empty.read(TABLE, ["id"])["id"].to_pylist()
    assert (held.table, held.version) == (TABLE, empty.version(TABLE))
    for i, vector in zip(held.ids, held.vectors, strict=True):
        assert vector[0] == ids.index(i) * 4
    assert held.vectors.dtype == np.float32


def test_rows_are_read_by_id_and_absent_ids_are_left_out(empty: Store) -> None:
    put(empty, ["b", "a", "c"])
    assert empty.read_rows(TABLE, ["c", "a", "none"], ["id"])["id"].to_pylist() == ["a", "c"]


def test_fixed_tables_that_are_absent_read_as_empty_and_others_are_unknown(empty: Store) -> None:
    assert empty.read("quarantine").schema == QUARANTINE
    assert empty.read("quarantine", ["id", "reason"]).column_names == ["id", "reason"]
    assert empty.count("fovs") == 0
    for use in (empty.read, empty.version, empty.read_vectors):
        with pytest.raises(UnknownNameError, match="unknown table 'emb_fov_x'; known: none"):
            use("emb_fov_x")


def test_an_empty_batch_makes_the_table_and_nothing_else(empty: Store) -> None:
    empty.upsert("fovs", FOVS.empty_table())
    assert empty.count("fovs") == 0
    version = empty.version("fovs")
    empty.upsert("fovs", FOVS.empty_table())
    assert empty.version("fovs") == version


def test_a_reader_sees_a_whole_version_while_a_writer_commits(empty: Store) -> None:
    put(empty, ["a", "b"])
    dataset = empty._dataset(TABLE)
    put(empty, ["a", "c"], np.zeros((2, 4)))
    assert dataset.count_rows() == 2
    assert dataset.to_table(columns=["vector"])["vector"].to_pylist() == [[1.0] * 4] * 2


def test_missing_data_are_told_though_lance_still_counts_them(empty: Store) -> None:
    put(empty, ["a"])
    for path in (empty.folder.db / f"{TABLE}.lance" / "data").glob("*.lance"):
        path.unlink()
    assert empty.count(TABLE) == 1
    uses = (lambda: empty.read(TABLE), lambda: empty.read_vectors(TABLE), lambda: empty.read_rows(TABLE, ["a"]))
    for use in uses:
        with pytest.raises(StoreDamagedError, match=rf"{TABLE}\.lance: cannot be read"):
            use()


def test_a_damaged_version_says_which_table(empty: Store) -> None:
    put(empty, ["a"])
    for path in (empty.folder.db / f"{TABLE}.lance" / "_versions").glob("*.manifest"):
        path.write_bytes(b"")
    with pytest.raises(StoreDamagedError, match=rf"{TABLE}\.lance: cannot be opened"):
        empty.read(TABLE)


def test_a_write_that_lance_cannot_make_is_one_line_and_keeps_what_was_there(
    empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(empty, ["a"])

    def full(*_: Any, **__: Any) -> None:
        message = "lance error: LanceError(IO): No space left on device (os error 28)\nbacktrace"
        raise RuntimeError(message)

    monkeypatch.setattr(lance.LanceDataset, "merge_insert", full)
    with pytest.raises(
        StoreDamagedError, match=r"cannot be written \(.*No space left.*\); what was .* stays$"
    ) as caught:
        put(empty, ["b"])
    assert "\n" not in str(caught.value)
    assert empty.count(TABLE) == 1


def test_many_small_fragments_are_merged_and_large_ones_are_left(empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FRAGMENTS_BEFORE_COMPACTION", 4)
    monkeypatch.setattr(store_module, "COMPACTED_ROWS", 10)
    put(empty, [f"old/{n:02d}" for n in range(12)])
    for n in range(4):
        put(empty, [f"new/{n}"], [[n, 0, 0, 0]])
    version = empty.version(TABLE)
    empty.compact(TABLE)
    assert empty.version(TABLE) == version
    put(empty, ["new/4"], [[4, 0, 0, 0]])
    before, first = empty.read(TABLE), empty._dataset(TABLE).get_fragments()[0].fragment_id
    empty.compact(TABLE)
    fragments = empty._dataset(TABLE).get_fragments()
    assert [f.count_rows() for f in fragments] == [12, 5]
    assert fragments[0].fragment_id == first
    assert empty.read(TABLE) == before
    assert has_key(empty, TABLE)
    put(empty, ["new/0"], [[9, 0, 0, 0]])
    assert empty.count(TABLE) == 17


def test_an_atlas_of_a_newer_schema_version_is_not_opened(empty: Store) -> None:
    empty.folder.write_info({**empty.folder.info(), "schema_version": 99})
    message = f"atlas of schema version 99; this locatlas reads versions 1 to {SCHEMA_VERSION}; a newer"
    with pytest.raises(LocatlasError, match=message):
        Store.open(empty.folder.path)


def test_types_survive_the_store(empty: Store) -> None:
    rows = image_rows([ROW | {"pixel_size_um": 0.1, "thumbnail": b"\x00\xff", "row": 3, "height": 5}], "fov")
    empty.upsert("fovs", rows)
    assert pa.Table.from_pylist(empty.read("fovs").to_pylist(), schema=FOVS) == rows


def test_a_signal_that_comes_within_a_read_of_lance_is_a_stop_and_no_damage(
    empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(empty, ["a"])

    def stopped(*_: object, **__: object) -> None:
        raise OSError("External error: StopRequested: SIGTERM")

    monkeypatch.setattr("lance.LanceDataset.to_table", stopped)
    with pytest.raises(StoreDamagedError, match="cannot be read"):
        empty.read(TABLE)
    monkeypatch.setattr("locatlas.interrupts._asked", [signal.SIGTERM])
    with pytest.raises(StopRequested, match="SIGTERM"):
        empty.read(TABLE)
