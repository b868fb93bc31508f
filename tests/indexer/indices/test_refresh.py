"""What index a level calls for: built by size or by name, completed, built anew, told."""

import shutil
from collections.abc import Callable

import pytest

from locatlas.errors import AtlasLockedError
from locatlas.indexer.indices import kinds
from locatlas.indexer.indices import refresh as refreshing
from locatlas.indexer.indices.refresh import refresh
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from tests.indexer.indices.made import D, N, files, made, names, put

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """`refresh` of the level, in an atlas that counts as large from 100 vectors on."""
    monkeypatch.setattr(kinds, "AUTO_EXACT_BELOW", 100)
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
    monkeypatch.setattr(kinds, "AUTO_EXACT_BELOW", 10_000)
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


def test_auto_builds_it_where_the_vectors_take_more_than_half_of_the_memory(
    empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "AUTO_EXACT_BELOW", 100)
    for memory, said in ((4 * N * D * 2, "FAISS ivfpq over 300"), (4 * N * D * 2 - 1, "lance-ivfrq on disk over 300")):
        monkeypatch.setattr(refreshing, "usable_memory", lambda memory=memory: memory)
        shutil.rmtree(empty.folder.indices, ignore_errors=True)
        assert refresh(empty.folder.path, "auto", levels=("fov",))["fov"].startswith(said)
