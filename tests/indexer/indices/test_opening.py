"""Whether an index may be used: never when stale, foreign, damaged or of another FAISS."""

import itertools

import pytest

from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.kinds import Kind
from locatlas.indexer.indices.opening import open_index
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from tests.indexer.indices.made import KINDS, D, N, files, made, names, opened, put
from tests.indexer.store.test_encoders import spec
from tests.quick import some

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", some(KINDS, 0, -1))
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


@pytest.mark.parametrize(
    ("suffix", "damage"),
    some(itertools.product(["faiss", "ids", "json"], ["truncated", "empty", "missing", "folder"]), 0, 3, 5, 6, 8, 11),
)
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
