"""What is built: an index that says what it was made from, or none at all."""

import json
import os
from dataclasses import asdict

import pytest

from locatlas.errors import InputError
from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.kinds import Kind
from locatlas.indexer.indices.refresh import refresh
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from tests.indexer.indices.made import KINDS, D, N, files, made, names, opened, put, usable
from tests.indexer.store.test_encoders import spec

pytestmark = pytest.mark.usefixtures("one_thread")


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_vectors_can_be_indexed(empty: Store, kind: Kind, n: int) -> None:
    one = StoredEncoder("fov", spec(embedding_dim=D), "current")
    put(empty, one, names(n), made(n))
    assert build(empty, one, kind).count == n
    assert usable(empty, one).candidates(made(1)[0], 10, None).tolist() == list(range(n))


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


def test_kinds_and_tables_that_cannot_be_built_are_refused(empty: Store, encoder: StoredEncoder) -> None:
    with pytest.raises(InputError, match="unknown index 'annoy'; known: flat, pqfs, ivf, hnsw, ivfpq, lance-ivfrq"):
        refresh(empty.folder.path, "annoy", levels=("fov",))
    empty.delete(encoder.table, names(N))
    with pytest.raises(InputError, match="has no vectors to index"):
        build(empty, encoder, "flat")
