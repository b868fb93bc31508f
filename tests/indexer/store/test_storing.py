"""Vectors in float16: declared, checked, read as float32, and everything else as with float32."""

import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import locatlas
from locatlas.errors import EncoderMismatchError, InputError, SchemaMismatchError
from locatlas.indexer.indices.refresh import refresh
from locatlas.indexer.store import vector_cache
from locatlas.indexer.store.encoders import current, stored_encoders
from locatlas.indexer.store.schema import FOVS, embedding_schema
from locatlas.indexer.store.storing import as_stored
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.relations import compare_encoders
from locatlas.indexer.verify.run import verify
from locatlas.models.spec import EncoderSpec
from tests.cli.asking import document

N, D = 300, 16


def write(file: Path, vectors: np.ndarray) -> Path:
    ids = [f"c{i:04d}" for i in range(len(vectors))]
    np.savez(file, ids=ids, vectors=vectors, protein=[f"P{i % 30}" for i in range(len(vectors))])
    return file


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((N, D)).astype(np.float32)


@pytest.fixture
def atlas(tmp_path: Path, vectors: np.ndarray) -> Path:
    file = write(tmp_path / "v.npz", vectors)
    locatlas.import_embeddings(file, atlas=tmp_path / "atlas", name="made", storage="float16")
    return tmp_path / "atlas"


def test_the_table_holds_float16_and_every_read_gives_its_numbers_as_float32(atlas: Path, vectors: np.ndarray) -> None:
    store = Store.open(atlas)
    encoder = current(store, "fov")
    assert encoder is not None
    assert encoder.spec.storage == "float16"
    assert store.read(encoder.table).schema.remove_metadata() == embedding_schema(D, "float16")
    ids, held = locatlas.open(atlas).embeddings()
    assert held.dtype == np.float32
    np.testing.assert_array_equal(held, vectors.astype(np.float16).astype(np.float32))
    assert ids == sorted(ids)


def test_neighbors_are_those_of_brute_force_over_the_rounded_vectors(atlas: Path, vectors: np.ndarray) -> None:
    unit = vectors.astype(np.float16).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for row in (0, 7, 123):
        found = locatlas.open(atlas).neighbors(id=f"imported/c{row:04d}", k=10)
        cosines = unit @ unit[row]
        cosines[row % 30 :: 30] = -2  # its own protein
        best = np.argsort(-cosines, kind="stable")[:10]
        assert found["id"].to_pylist() == [f"imported/c{i:04d}" for i in best]
        np.testing.assert_allclose(found["similarity"].to_numpy(), cosines[best], atol=1e-7)


def test_a_second_import_does_nothing_and_a_whole_verify_finds_nothing(atlas: Path, tmp_path: Path) -> None:
    before = {t: Store.open(atlas).version(t) for t in Store.open(atlas).tables() if t.startswith("emb_")}
    again = locatlas.import_embeddings(tmp_path / "v.npz", atlas=atlas, name="made", storage="float16")
    assert (again["imported"], again["skipped"]) == (0, N)
    assert {t: Store.open(atlas).version(t) for t in before} == before
    assert [f for f in verify(atlas=atlas).findings if f.severity != "note"] == []


@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_an_index_and_the_cache_are_made_opened_and_verified(
    atlas: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_cache, "CACHE_FROM_BYTES", 1)
    refresh(atlas, kind, levels=("fov",))
    for _ in range(2):
        loaded = locatlas.open(atlas)._shelf.load("fov", None)
        assert loaded.index_state == "up to date"
        np.testing.assert_array_equal(loaded.view.vectors, Store.open(atlas).read_vectors(loaded.encoder.table).vectors)
    assert [f for f in verify(atlas=atlas).findings if f.severity != "note"] == []


@pytest.mark.parametrize("value", [70_000.0, 1e-7])
def test_what_float16_does_not_hold_is_refused_before_anything_is_written(
    tmp_path: Path, vectors: np.ndarray, value: float
) -> None:
    vectors[5] = 0
    vectors[5, 0] = value
    file = write(tmp_path / "v.npz", vectors)
    with pytest.raises(InputError, match=r"'imported/c0005'.*does not fit float16"):
        locatlas.import_embeddings(file, atlas=tmp_path / "a", name="made", storage="float16")
    assert Store.open(tmp_path / "a").count("fovs") == 0
    done = locatlas.import_embeddings(file, atlas=tmp_path / "a", name="made")
    assert done["imported"] == N


def test_one_name_has_one_storage(atlas: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderMismatchError, match=r"is stored as float16\. Say --storage float16, or choose another"):
        locatlas.import_embeddings(tmp_path / "v.npz", atlas=atlas, name="made")
    locatlas.import_embeddings(tmp_path / "v.npz", atlas=atlas, name="whole")
    assert sorted(e.spec.storage for e in stored_encoders(Store.open(atlas))) == ["float16", "float32"]


def test_what_a_stopped_import_began_in_other_numbers_is_deleted_by_the_next(
    tmp_path: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "v.npz", vectors)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("locatlas.indexer.importing.run.encoders.put", killed)
        with pytest.raises(KeyboardInterrupt):
            locatlas.import_embeddings(file, atlas=tmp_path / "a", name="made")
    store = Store.open(tmp_path / "a")
    (begun,) = [name for name in store.tables() if name.startswith("emb_")]
    with caplog.at_level(logging.WARNING):
        locatlas.import_embeddings(file, atlas=tmp_path / "a", name="made", storage="float16")
    (encoder,) = stored_encoders(store)
    assert [name for name in store.tables() if name.startswith("emb_")] == [encoder.table] != [begun]
    assert f"{N} vectors of made, which an import that was stopped had begun to store as float32, are deleted" in (
        caplog.text
    )
    assert [f for f in verify(atlas=tmp_path / "a").findings if f.severity != "note"] == []
    # vectors that an encoder has are never taken for such remains
    locatlas.import_embeddings(file, atlas=tmp_path / "a", name="whole")
    with pytest.raises(EncoderMismatchError):
        locatlas.import_embeddings(file, atlas=tmp_path / "a", name="whole", storage="float16")
    assert len([name for name in store.tables() if name.startswith("emb_")]) == 2


def test_a_table_takes_no_other_numbers_than_its_own(atlas: Path) -> None:
    store = Store.open(atlas)
    encoder = current(store, "fov")
    assert encoder is not None
    with store.folder.writer("a test"), pytest.raises(SchemaMismatchError, match="16 numbers as halffloat, got 16 as"):
        store.put_embeddings("fov", encoder.fingerprint, ["a/b"], ["x"], np.ones((1, D), np.float32))


def test_verify_tells_a_table_of_other_numbers_than_its_encoder(atlas: Path) -> None:
    store = Store.open(atlas)
    encoder, rows = current(store, "fov"), store.read("encoders")
    assert encoder is not None
    assert compare_encoders(rows, {encoder.table: (D, "float16")}) == []
    (found,) = compare_encoders(rows, {encoder.table: (D, "float32")})
    assert (found.kind, found.where) == ("other dimension", encoder.table)
    assert "have 16 numbers (float32), made makes 16 numbers (float16)" in found.means.replace(
        f" ({encoder.fingerprint[:12]})", ""
    )


def test_status_and_the_command_line_know_it(tmp_path: Path, vectors: np.ndarray) -> None:
    file, atlas = write(tmp_path / "v.npz", vectors), tmp_path / "atlas"

    document("import-embeddings", file, "--atlas", atlas, "--name", "made", "--storage", "float16")
    (encoder,) = document("status", "--atlas", atlas)["encoders"]
    assert encoder["storage"] == "float16"


def test_the_storage_is_part_of_the_identity_and_float32_changes_no_fingerprint() -> None:
    spec = EncoderSpec(
        name="a.b", architecture="a", slots=("nucleus",), input_px=8, embedding_dim=2, weights_sha256="seed:1"
    )
    half = spec.with_changes(storage="float16")
    assert half.fingerprint != spec.fingerprint
    assert "storage" not in json.loads(spec.to_json()) | spec.identity()
    for one in (spec, half):
        assert EncoderSpec.from_json(one.to_json()) == one
    with pytest.raises(InputError, match="storage 'float8', allowed: float32, float16"):
        spec.with_changes(storage="float8")


@given(arrays(np.float32, (3, 5), elements=st.floats(-1e6, 1e6, width=32)))
def test_what_is_stored_is_the_nearest_float16_or_is_refused(vectors: np.ndarray) -> None:
    wide = vectors.astype(np.float64)
    with np.errstate(over="ignore"):
        half = vectors.astype(np.float16)
    fits = np.isfinite(half).all() and all(
        np.linalg.norm(half[i].astype(np.float64) - wide[i]) <= np.linalg.norm(wide[i]) / 1024 for i in range(3)
    )
    assert as_stored(vectors, "float32", ["a", "b", "c"], "t") is vectors
    if fits:
        np.testing.assert_array_equal(as_stored(vectors, "float16", ["a", "b", "c"], "t"), half)
    else:
        with pytest.raises(InputError, match="does not fit float16"):
            as_stored(vectors, "float16", ["a", "b", "c"], "t")


def test_other_tables_have_no_half_numbers() -> None:
    assert not any(pa.types.is_float16(field.type) for field in FOVS)
