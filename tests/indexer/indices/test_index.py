"""FAISS files: exact where they claim it, completed by later rows, never used when stale, foreign or damaged."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.indices import kinds as faiss_kinds
from locatlas.indexer.indices.index import TableIndex, build, open_index, refresh
from locatlas.indexer.indices.kinds import Kind
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from tests.indexer.store.test_encoders import spec

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS: tuple[Kind, ...] = ("flat", "pqfs", "ivf", "hnsw", "ivfpq", "lance-ivfrq")
D = 16
N = 300


def made(n: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((8, D))
    return (centres[rng.integers(0, 8, n)] + rng.standard_normal((n, D))).astype(np.float32)


def put(store: Store, encoder: StoredEncoder, ids: list[str], vectors: NDArray[np.float32]) -> None:
    sources = [hashlib.blake2b(vector, digest_size=16).hexdigest() for vector in vectors]
    store.put_embeddings("fov", encoder.fingerprint, ids, sources, vectors)


def names(n: int, prefix: str = "d/") -> list[str]:
    return [f"{prefix}{i:05d}" for i in range(n)]


def opened(store: Store, encoder: StoredEncoder) -> tuple[TableIndex | None, str]:
    return open_index(store, encoder, store.read_vectors(encoder.table))


def usable(store: Store, encoder: StoredEncoder) -> TableIndex:
    index, said = opened(store, encoder)
    assert index is not None, said
    return index


def nearest(store: Store, encoder: StoredEncoder, query: NDArray[np.float32], k: int, rows: Any = None) -> set[int]:
    """Rows of the k nearest among some rows of the table, by float64."""
    unit = store.read_vectors(encoder.table).vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    rows = np.arange(len(unit)) if rows is None else np.asarray(rows)
    return set(rows[np.argsort(-(unit[rows] @ query.astype(np.float64)))[:k]].tolist())


def files(store: Store, encoder: StoredEncoder) -> dict[str, Path]:
    return {s: store.folder.indices / f"{encoder.table}.{s}" for s in ("faiss", "ids", "json")}


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_says_what_it_was_made_from(empty: Store, encoder: StoredEncoder, kind: Kind) -> None:
    sidecar = build(empty, encoder, kind)
    written = json.loads(files(empty, encoder)["json"].read_text())
    assert len(written.pop("sidecar_digest")) == 32
    assert written == {name: value for name, value in asdict(sidecar).items() if value or name == "params"}
    assert (sidecar.table, sidecar.version) == (encoder.table, empty.version(encoder.table))
    assert (sidecar.fingerprint, sidecar.metric, sidecar.kind) == (encoder.fingerprint, "cosine", kind)
    assert (sidecar.count, sidecar.dim) == (N, D)
    assert 0.9 <= sidecar.recall_at_10 <= 1
    expected = (
        {sidecar.folder, f"{encoder.table}.json"}
        if kind == "lance-ivfrq"
        else {p.name for p in files(empty, encoder).values()}
    )
    assert set(os.listdir(empty.folder.indices)) == expected
    assert opened(empty, encoder)[1] == "up to date"


def test_candidates_of_a_flat_index_hold_the_exact_neighbors_for_any_length_of_query(
    empty: Store, encoder: StoredEncoder
) -> None:
    build(empty, encoder, "flat")
    index = usable(empty, encoder)
    for query in made(20, seed=9):
        for k in (1, 7, N, N + 5):
            found = index.candidates(1000 * query, k, None)
            assert nearest(empty, encoder, query, k) <= set(found.tolist())
            assert found.tolist() == sorted(set(found.tolist()))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_came_later_are_always_candidates(empty: Store, encoder: StoredEncoder, kind: Kind) -> None:
    build(empty, encoder, kind)
    put(empty, encoder, names(5, "a/") + names(5, "z/"), made(10, seed=3))
    index, said = opened(empty, encoder)
    assert index is not None
    assert said == "10 rows later"
    ids = empty.read_vectors(encoder.table).ids
    assert [ids[row] for row in index.later] == names(5, "a/") + names(5, "z/")
    assert [ids[row] for row in index.rows] == names(N)
    found = index.candidates(made(1, seed=9)[0], 3, None)
    assert set(index.later.tolist()) <= set(found.tolist())
    later = set(index.later.tolist())
    for query in made(10, seed=3):  # the later rows themselves
        assert nearest(empty, encoder, query, 1) <= later & set(index.candidates(query, 1, None).tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_allowed", [0, 1, 4, 150])
def test_only_allowed_rows_are_candidates_and_at_least_k_where_there_are_so_many(
    empty: Store, encoder: StoredEncoder, kind: Kind, n_allowed: int
) -> None:
    build(empty, encoder, kind)
    put(empty, encoder, names(6, "a/"), made(6, seed=3))
    index = usable(empty, encoder)
    rng = np.random.default_rng(4)
    for query in made(5, seed=9):
        allowed = np.zeros(N + 6, dtype=bool)
        allowed[rng.choice(N + 6, n_allowed, replace=False)] = True
        found = index.candidates(query, 10, allowed)
        assert allowed[found].all()
        assert len(found) >= min(10, n_allowed)
        if kind == "flat" or n_allowed <= 10:
            assert nearest(empty, encoder, query, min(10, n_allowed), np.flatnonzero(allowed)) <= set(found.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_allowed_rows_far_from_the_query_are_found_though_no_list_or_path_leads_there(empty: Store, kind: Kind) -> None:
    one = StoredEncoder("fov", spec(embedding_dim=D), "current")
    put(empty, one, names(4000), made(4000))
    build(empty, one, kind)
    query = made(1, seed=9)[0]
    unit = empty.read_vectors(one.table).vectors
    near = unit @ query / np.linalg.norm(unit, axis=1)
    allowed = near < np.median(near)
    found = usable(empty, one).candidates(query, 10, allowed)
    assert len(found) >= 10
    assert allowed[found].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_vectors_can_be_indexed(empty: Store, kind: Kind, n: int) -> None:
    one = StoredEncoder("fov", spec(embedding_dim=D), "current")
    put(empty, one, names(n), made(n))
    assert build(empty, one, kind).count == n
    assert usable(empty, one).candidates(made(1)[0], 10, None).tolist() == list(range(n))


def test_zero_vectors_do_not_break_an_index(empty: Store) -> None:
    one = StoredEncoder("fov", spec(embedding_dim=D), "current")
    put(empty, one, names(50), np.vstack([made(49), np.zeros((1, D), np.float32)]))
    for kind in KINDS:
        build(empty, one, kind)
        found = usable(empty, one).candidates(np.zeros(D, np.float32), 60, None)
        assert found.tolist() == list(range(50))


# --- never used ---


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_whose_rows_were_changed_or_removed_is_stale(empty: Store, encoder: StoredEncoder, kind: Kind) -> None:
    build(empty, encoder, kind)
    put(empty, encoder, ["d/00007"], made(1, seed=8))
    assert opened(empty, encoder) == (None, "index stale: rows it holds were changed or removed")
    build(empty, encoder, kind)
    empty.delete(encoder.table, ["d/00009"])
    assert opened(empty, encoder) == (None, "index stale: rows it holds were changed or removed")


def test_an_index_of_another_table_or_encoder_is_foreign(empty: Store, encoder: StoredEncoder) -> None:
    """The other encoder's vectors are equal, so that nothing but table and fingerprint tells."""
    other = StoredEncoder("fov", spec(1, embedding_dim=D), "superseded")
    put(empty, other, names(N), made(N))
    build(empty, encoder, "flat")
    mine, theirs = files(empty, encoder), files(empty, other)
    for suffix in mine:
        mine[suffix].rename(theirs[suffix])
    assert opened(empty, other) == (None, "index of another table or encoder")
    assert opened(empty, encoder) == (None, "no index")


@pytest.mark.parametrize("suffix", ["faiss", "ids", "json"])
def test_a_flipped_bit_in_any_file_is_found(empty: Store, encoder: StoredEncoder, suffix: str) -> None:
    build(empty, encoder, "hnsw")
    path = files(empty, encoder)[suffix]
    data = path.read_bytes()
    held = empty.read_vectors(encoder.table)
    for at in range(0, len(data), max(1, len(data) // 60)):
        if data[at : at + 1].isspace() and suffix == "json":
            continue
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        assert open_index(empty, encoder, held)[0] is None
    path.write_bytes(data)
    assert open_index(empty, encoder, held)[0] is not None


@pytest.mark.parametrize("suffix", ["faiss", "ids", "json"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "folder"])
def test_a_file_that_is_cut_or_missing_is_not_used(
    empty: Store, encoder: StoredEncoder, suffix: str, damage: str
) -> None:
    build(empty, encoder, "ivf")
    path = files(empty, encoder)[suffix]
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(data[: len(data) // 2 if damage == "truncated" else 0])
    index, said = opened(empty, encoder)
    assert index is None
    assert said.startswith("no index" if suffix == "json" and damage in ("missing", "folder") else "index ")


def test_a_file_that_this_faiss_does_not_read_is_not_used(
    empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import faiss

    def unreadable(*_: object) -> None:
        message = "index type not recognized"
        raise RuntimeError(message)

    build(empty, encoder, "flat")
    monkeypatch.setattr(faiss, "read_index", unreadable)
    index, said = opened(empty, encoder)
    assert index is None
    assert "which" in said
    assert "does not read (index type not recognized)" in said


def test_a_disk_that_fills_up_leaves_the_index_before_or_none(
    empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(empty, encoder, "flat")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            build(empty, encoder, "hnsw")
    assert opened(empty, encoder)[0] is None
    assert not [name for name in os.listdir(empty.folder.indices) if name.endswith(".tmp")]
    build(empty, encoder, "hnsw")
    assert usable(empty, encoder).sidecar.kind == "hnsw"


# --- refresh ---


@pytest.fixture
def run(empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """`refresh` of the level, in an atlas that counts as large from 100 vectors on."""
    monkeypatch.setattr(faiss_kinds, "AUTO_EXACT_BELOW", 100)
    return lambda kind: refresh(empty.folder.path, kind, levels=("fov",))["fov"]


def test_none_builds_nothing_and_tells_what_look_ups_use(run: Callable[[str], str], empty: Store) -> None:
    assert run("none") == "exact search (300 vectors)"
    assert not empty.folder.indices.exists()
    run("hnsw")
    assert run("none").startswith("FAISS hnsw over 300 vectors")


def test_auto_builds_by_size_and_lets_any_valid_index_stand(
    run: Callable[[str], str], empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("auto").startswith(
        "FAISS ivfpq over 300 vectors, n_list 7, n_probe 7, m 8, bits 4, refine 20, recall@10 1.000 among"
    )
    written = files(empty, encoder)["json"].stat().st_mtime_ns
    assert run("auto").startswith("FAISS ivfpq")
    assert files(empty, encoder)["json"].stat().st_mtime_ns == written
    assert run("flat").startswith("FAISS flat over 300 vectors, recall@10 1.000")
    assert run("auto").startswith("FAISS flat")
    monkeypatch.setattr(faiss_kinds, "AUTO_EXACT_BELOW", 10_000)
    assert run("auto").startswith("FAISS flat")


def test_auto_completes_a_few_later_rows_exactly_and_builds_anew_for_many(
    run: Callable[[str], str], empty: Store, encoder: StoredEncoder
) -> None:
    run("auto")
    put(empty, encoder, names(15, "z/"), made(15, seed=2))
    assert run("auto").startswith("FAISS ivfpq over 300 vectors, 15 later ones searched exactly, bits")
    put(empty, encoder, ["zz/1"], made(1, seed=3))
    assert run("auto").startswith("FAISS ivfpq over 316 vectors, n_list")


def test_a_named_kind_is_built_if_it_is_another_or_rows_came_later(
    run: Callable[[str], str], empty: Store, encoder: StoredEncoder
) -> None:
    assert run("hnsw").startswith("FAISS hnsw over 300 vectors, m 32, ef_construction 100, ef_search 128, recall@10")
    written = files(empty, encoder)["json"].stat().st_mtime_ns
    run("hnsw")
    assert files(empty, encoder)["json"].stat().st_mtime_ns == written
    put(empty, encoder, ["z/1"], made(1, seed=3))
    assert run("hnsw").startswith("FAISS hnsw over 301")
    assert run("ivfpq").startswith("FAISS ivfpq over 301")


def test_a_stale_index_is_built_anew_or_told(
    run: Callable[[str], str], empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("auto")
    put(empty, encoder, ["d/00001"], made(1, seed=3))
    assert run("none") == "exact search (300 vectors; index stale: rows it holds were changed or removed)"
    assert run("auto").startswith("FAISS ivfpq over 300")


def test_building_takes_the_writers_lock(run: Callable[[str], str], empty: Store) -> None:
    with empty.folder.writer("index"):
        with pytest.raises(AtlasLockedError):
            run("flat")
        assert run("auto").startswith("exact search (300 vectors; FAISS ivfpq is not built:")
    assert run("auto").startswith("FAISS ivfpq over 300")


def test_levels_without_a_complete_encoder_have_no_index(empty: Store, encoder: StoredEncoder) -> None:
    assert refresh(empty.folder.path, "auto", levels=("cell",)) == {"cell": "no index: encoder not complete"}


def test_kinds_and_tables_that_cannot_be_built_are_refused(empty: Store, encoder: StoredEncoder) -> None:
    with pytest.raises(InputError, match="unknown index 'annoy'; known: flat, pqfs, ivf, hnsw, ivfpq, lance-ivfrq"):
        refresh(empty.folder.path, "annoy", levels=("fov",))
    empty.delete(encoder.table, names(N))
    with pytest.raises(InputError, match="has no vectors to index"):
        build(empty, encoder, "flat")


def test_vectors_that_are_left_out_of_a_table_are_left_out_of_its_index(empty: Store, encoder: StoredEncoder) -> None:
    """Those of images that have other pixels now: the others are still found by the index."""
    put(empty, encoder, names(300), made(300))
    build(empty, encoder, "flat")
    held = empty.read_vectors(encoder.table)
    some = held.take(np.delete(np.arange(300), [0, 7, 299]))
    index, said = open_index(empty, encoder, some)
    assert index is not None, said
    assert not len(index.later)
    for row in (0, 5, 296):
        query = some.vectors[row]
        unit = some.vectors / np.linalg.norm(some.vectors, axis=1, keepdims=True)
        best = np.argsort(-(unit @ query))[:5]
        assert set(best.tolist()) <= set(index.candidates(query, 5, None).tolist())
        allowed = np.arange(297) % 2 == 0
        assert allowed[index.candidates(query, 5, allowed)].all()
