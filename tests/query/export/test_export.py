"""Exports read back by the programs they are for, or by Arrow and FAISS, and compared with brute force."""

import hashlib
import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import locatlas
from locatlas.errors import InputError, UnknownNameError
from locatlas.query.asking.view import View
from locatlas.query.atlas import Atlas, open_atlas
from tests.query.made_atlas import encoder, make_atlas

HOSTILE = '=cmd|"/C calc"!A0 <b>&amp;'


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    return open_atlas(make_atlas(tmp_path / "atlas"))


def installed(name: str) -> Any:
    """A program that reads exports, or a skip that says that it is not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on import
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            pytest.skip(f"{name} is not installed")


def cosines(view: View) -> NDArray[np.float64]:
    unit = view.vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit @ unit.T


def nearest(view: View, k: int) -> list[set[int]]:
    """By brute force, without the row itself."""
    similarities = cosines(view) - 4 * np.eye(len(view))
    return [set(order) for order in np.argsort(-similarities, axis=1)[:, :k].tolist()]


def test_faiss_gives_cosines_and_its_ids(atlas: Atlas, tmp_path: Path) -> None:
    done = atlas.export("faiss", tmp_path / "index", level="cell")
    index = faiss.read_index(str(tmp_path / "index" / "index.faiss"))
    ids = (tmp_path / "index" / "ids.txt").read_text().splitlines()
    view = atlas.view("cell")
    assert ids == view.ids
    unit = view.vectors / np.linalg.norm(view.vectors, axis=1, keepdims=True)
    similarities, rows = index.search(unit, 6)
    assert [set(r[1:]) for r in rows.tolist()] == nearest(view, 5)
    np.testing.assert_allclose(similarities, np.take_along_axis(cosines(view), rows, axis=1), atol=1e-6)
    said = json.loads((tmp_path / "index" / "index.json").read_text())
    assert said["fingerprint"] == encoder().fingerprint
    assert said["metric"] == "cosine"
    assert said["rows"] == done.rows == 72
    for name, digest in said["blake2b_128"].items():
        data = (tmp_path / "index" / name).read_bytes()
        assert hashlib.blake2b(data, digest_size=16).hexdigest() == digest


def test_vectors_that_are_stored_as_float16_are_exported_as_the_float32_numbers_that_they_are(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    ids = [f"c{n:02}" for n in range(30)]
    np.savez(tmp_path / "v.npz", ids=ids, vectors=vectors, protein=[f"P{n % 6}" for n in range(30)])
    locatlas.import_embeddings(tmp_path / "v.npz", atlas=tmp_path / "half", name="made", storage="float16")
    expected = vectors.astype(np.float16).astype(np.float32)
    atlas = open_atlas(tmp_path / "half")
    atlas.map("fov")
    atlas.export("profiles", tmp_path / "profiles.parquet")
    table = pq.read_table(tmp_path / "profiles.parquet")
    features = [name for name in table.column_names if not name.startswith("Metadata_")]
    assert {table.schema.field(name).type for name in features} == {pa.float32()}
    assert np.array_equal(np.column_stack([table[name] for name in features]), expected)
    atlas.export("parquet", tmp_path / "map.parquet", k=3)
    neighbors = [set(found["ids"]) for found in pq.read_table(tmp_path / "map.parquet")["neighbors"].to_pylist()]
    assert neighbors == nearest(atlas.view("fov"), 3)
    atlas.export("faiss", tmp_path / "index")
    index = faiss.read_index(str(tmp_path / "index" / "index.faiss"))
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(index.reconstruct_n(0, 30), unit, atol=1e-6)
    anndata = installed("anndata")
    atlas.export("anndata", tmp_path / "made.h5ad")
    stored = anndata.read_h5ad(tmp_path / "made.h5ad").obsm["X_made"]
    assert stored.dtype == np.float32
    assert np.array_equal(stored, expected)


def test_what_is_there_stays_and_what_is_unknown_is_told(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_text("mine")
    with pytest.raises(InputError, match="exists; --overwrite"):
        atlas.export("profiles", tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").read_text() == "mine"
    with pytest.raises(UnknownNameError, match="unknown export 'csv'"):
        atlas.export("csv", tmp_path / "out.csv")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no image at level fov passes the filter"):
        atlas.export("profiles", tmp_path / "new.parquet", where=["protein=NONE"])
