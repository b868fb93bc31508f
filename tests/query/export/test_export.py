"""Exports read back by the programs they are for, or by Arrow and FAISS, and compared with brute force."""

import dataclasses
import hashlib
import importlib
import json
import sys
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
from locatlas.indexer.store.encoders import StoredEncoder, put
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.view import View
from locatlas.query.atlas import Atlas, open_atlas
from locatlas.query.export import anndata_file
from locatlas.query.export.chosen import choose
from tests.query.made_atlas import DIM, encoder, make_atlas, row

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


def test_anndata_has_vectors_metadata_and_the_exact_neighbor_graph(atlas: Atlas, tmp_path: Path) -> None:
    anndata = installed("anndata")
    xy = atlas.map("cell").xy
    done = atlas.export("anndata", tmp_path / "cells.h5ad", level="cell", k=5)
    assert (done.rows, done.dim) == (72, DIM)
    assert done.notes == [
        "localizations are inherited from the protein, field or data set; 12 of 72 cells are annotated"
    ]
    data, view = anndata.read_h5ad(tmp_path / "cells.h5ad"), atlas.view("cell")
    assert data.obs_names.tolist() == view.ids
    assert np.array_equal(data.obsm["X_made"], view.vectors)
    assert np.array_equal(data.obsm["X_pca"], xy)
    assert data.obs["protein"].tolist() == view.column("protein")
    assert data.obs["localizations"].tolist() == [";".join(sorted(names)) for names in view.localizations]
    assert data.obs["touches_border"].tolist() == view.column("touches_border")
    assert data.obs["area_px"].tolist() == view.column("area_px")
    assert data.obs["box_right"].tolist() == [5.0] * 72
    annotated = data.obs["annotated"]
    assert annotated.isna().tolist() == [names is None for names in view.column("annotated")]
    distances = data.obsp["distances"].tocsr()
    assert [set(distances[i].indices.tolist()) for i in range(72)] == nearest(view, 5)
    rows, columns = distances.nonzero()
    np.testing.assert_allclose(distances.data, 1 - cosines(view)[rows, columns], atol=1e-6)
    connectivities = data.obsp["connectivities"].toarray()
    assert np.array_equal(connectivities, connectivities.T)
    assert np.array_equal(connectivities > 0, (distances.toarray() > 0) | (distances.toarray() > 0).T)
    assert data.uns["neighbors"]["params"]["use_rep"] == "X_made"
    assert data.uns["locatlas"]["fingerprint"] == encoder().fingerprint
    assert json.loads(data.uns["locatlas"]["spec"]) == json.loads(encoder().to_json())
    assert "numpy" in json.loads(data.uns["locatlas"]["versions"])


def test_centroids_of_cells_are_where_squidpy_looks_for_them(atlas: Atlas, tmp_path: Path) -> None:
    chosen = choose(atlas._shelf, Scope(level="cell"))

    def of(centroids: list[list[float] | None], sizes: list[float | None]) -> Any:
        meta = chosen.view.meta.slice(0, 3)
        for name, values in (("centroid", centroids), ("pixel_size_um", sizes)):
            at = meta.column_names.index(name)
            meta = meta.set_column(at, name, pa.array(values, meta.schema.field(name).type))
        view = View("cell", meta, chosen.view.vectors[:3])
        return anndata_file.spatial(dataclasses.replace(chosen, view=view))

    # y, x in pixels becomes x, y in micrometres
    places, said, notes = of([[10.0, 20.0], [1.0, 2.0], None], [0.5, 0.25, 0.5])
    np.testing.assert_array_equal(places["spatial"], [[10.0, 5.0], [0.5, 0.25], [np.nan, np.nan]])
    assert (said["spatial_unit"], notes) == ("um", [])
    # one unknown scale, and all are in pixels: a column has one unit
    places, said, notes = of([[10.0, 20.0], [1.0, 2.0], [3.0, 4.0]], [0.5, None, 0.5])
    np.testing.assert_array_equal(places["spatial"], [[20.0, 10.0], [2.0, 1.0], [4.0, 3.0]])
    assert said["spatial_unit"] == "px"
    assert notes == ["obsm['spatial'] is in pixels: 1 of 3 cells have no pixel size"]
    assert of([None, None, None], [0.5] * 3) == ({}, {}, [])
    # in the file; fields have none
    anndata = installed("anndata")
    atlas.export("anndata", tmp_path / "cells.h5ad", level="cell")
    data = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert data.obsm["spatial"].tolist() == [[2.0, 2.0]] * 72
    assert data.uns["locatlas"]["spatial_unit"] == "px"
    assert data.obs["fov"].nunique() == 18
    atlas.export("anndata", tmp_path / "fields.h5ad", level="fov")
    assert "spatial" not in anndata.read_h5ad(tmp_path / "fields.h5ad").obsm


def renamed(path: Path, name: str) -> Atlas:
    """The atlas with vectors of that name."""
    store = Store.open(path)
    ids, vectors = open_atlas(path).embeddings(level="fov")
    stored = StoredEncoder(
        "fov", dataclasses.replace(encoder(), name=name, weights_sha256=f"imported:{name}"), "current"
    )
    with store.folder.writer("a test"):
        store.put_embeddings("fov", stored.fingerprint, list(ids), ["x"] * len(ids), vectors)
        put(store, stored)
    return open_atlas(path)


def test_anndata_keeps_vectors_that_are_called_as_a_map_is(tmp_path: Path) -> None:
    atlas = renamed(make_atlas(tmp_path / "atlas", levels=("fov",)), "pca")
    xy = atlas.map("fov", encoder="pca").xy
    view = atlas.view("fov", encoder="pca")
    chosen = choose(atlas._shelf, Scope(level="fov", encoder="pca"))
    maps, _ = anndata_file._maps(chosen)
    assert anndata_file.vector_key(chosen, maps) == "X_pca_"
    anndata = installed("anndata")
    atlas.export("anndata", tmp_path / "out.h5ad", level="fov", encoder="pca", k=3)
    data = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert np.array_equal(data.obsm["X_pca"], xy)
    assert np.array_equal(data.obsm["X_pca_"], view.vectors)
    assert data.uns["neighbors"]["params"]["use_rep"] == data.uns["locatlas"]["representation"] == "X_pca_"


def test_images_that_nobody_labelled_are_no_class_of_their_own(tmp_path: Path) -> None:
    path = make_atlas(tmp_path / "atlas", levels=("fov",))
    store = Store.open(path)
    with store.folder.writer("a test"):
        unlabelled = [r | {"localizations": [], "graded": []} for r in store.read("fovs").to_pylist()[:3]]
        store.upsert("fovs", image_rows(unlabelled, "fov"))
    open_atlas(path).export("profiles", tmp_path / "fovs.parquet", level="fov")
    labels = pq.read_table(tmp_path / "fovs.parquet")["Metadata_localizations"].to_pylist()
    assert labels[:3] == [None] * 3
    assert all(labels[3:])


def test_anndata_takes_names_that_would_be_groups_or_formulas(tmp_path: Path) -> None:
    anndata = installed("anndata")
    path = make_atlas(tmp_path / "atlas", levels=("fov",))
    store = Store.open(path)
    metadata = [{"name": "a/b", "value": HOSTILE}, {"name": "_index", "value": "1"}]
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows([row("d/00", protein=HOSTILE, metadata=metadata)], "fov"))
    open_atlas(path).export("anndata", tmp_path / "out.h5ad")
    data = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert data.obs.loc["d/00", ["a_b", "index_", "protein"]].tolist() == [HOSTILE, "1", HOSTILE]


def test_anndata_that_is_missing_or_misnamed_is_told(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(InputError, match=r"needs anndata: pip install 'locatlas\[anndata\]'"):
        atlas.export("anndata", tmp_path / "out.h5ad")


def with_thumbnails(path: Path) -> Atlas:
    store = Store.open(path)
    rows = store.read("fovs").to_pylist()
    with store.folder.writer("a test"):
        changed = [r | {"thumbnail": f"WebP of {r['id']}".encode()} for r in rows[1:]]
        store.upsert("fovs", image_rows(changed, "fov"))
    return open_atlas(path)


def test_parquet_has_places_row_numbers_of_neighbors_and_pictures(tmp_path: Path) -> None:
    atlas = with_thumbnails(make_atlas(tmp_path / "atlas", levels=("fov",)))
    points = atlas.map("fov")
    done = atlas.export("parquet", tmp_path / "my fovs.parquet", k=4)
    assert done.command == (
        f"uvx embedding-atlas '{tmp_path}/my fovs.parquet' --x x --y y --neighbors neighbors --image thumbnail"
    )
    table, view = pq.read_table(tmp_path / "my fovs.parquet"), atlas.view("fov")
    assert table["id"].to_pylist() == view.ids
    assert np.array_equal(np.column_stack([table["x"], table["y"]]), points.xy)
    neighbors = table["neighbors"].to_pylist()
    assert [set(n["ids"]) for n in neighbors] == nearest(view, 4)
    expected = [[1 - cosines(view)[i, j] for j in n["ids"]] for i, n in enumerate(neighbors)]
    np.testing.assert_allclose([n["distances"] for n in neighbors], expected, atol=1e-6)
    assert all(sorted(n["distances"]) == n["distances"] for n in neighbors)
    pictures = table["thumbnail"].to_pylist()
    assert pictures[0] is None
    assert pictures[1] == {"bytes": f"WebP of {view.ids[1]}".encode(), "path": None}
    assert {"protein", "localizations", "plate", "dataset"} <= set(table.column_names)
    assert json.loads(table.schema.metadata[b"locatlas"])["fingerprint"] == encoder().fingerprint


def test_rows_that_are_not_on_the_map_are_left_out_and_counted(tmp_path: Path) -> None:
    path = make_atlas(tmp_path / "atlas", levels=("fov",))
    open_atlas(path).map("fov")
    store = Store.open(path)
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows([row("a/new", protein="NEW", metadata=[{"name": "x", "value": "X"}])], "fov"))
        store.put_embeddings("fov", encoder().fingerprint, ["a/new"], ["x"], np.ones((1, DIM), np.float32))
    atlas = open_atlas(path)
    done = atlas.export("parquet", tmp_path / "out.parquet", k=3)
    assert done.rows == 18
    assert done.notes[0].startswith("left out: 1 rows not on the pca map, or with another vector now; `locatlas map")
    table = pq.read_table(tmp_path / "out.parquet")
    view = atlas.view("fov").take(np.arange(1, 19))
    assert [set(n["ids"]) for n in table["neighbors"].to_pylist()] == nearest(view, 3)  # numbers of rows of the file
    atlas.map("fov")
    atlas.export("parquet", tmp_path / "out.parquet", overwrite=True)
    again = pq.read_table(tmp_path / "out.parquet")
    assert again["placed"].to_pylist() == [True] + [False] * 18
    assert again["x_"].to_pylist() == ["X"] + [None] * 18  # the manifest's own column x


def test_a_point_whose_vector_changed_since_is_not_shown_where_it_was(tmp_path: Path) -> None:
    path = make_atlas(tmp_path / "atlas", levels=("fov",))
    open_atlas(path).map("fov")
    store = Store.open(path)
    with store.folder.writer("a test"):
        store.put_embeddings("fov", encoder().fingerprint, ["d/00"], ["x"], np.ones((1, DIM), np.float32))
    done = open_atlas(path).export("parquet", tmp_path / "out.parquet")
    assert done.rows == 17
    assert "d/00" not in pq.read_table(tmp_path / "out.parquet")["id"].to_pylist()


def test_proteins_of_some_images_are_others_than_those_on_the_map(atlas: Atlas, tmp_path: Path) -> None:
    atlas.map("protein")
    with pytest.raises(InputError, match="no row is on the pca map with the vector that it has now; `locatlas map"):
        atlas.export("parquet", tmp_path / "out.parquet", level="protein", where=["plate=plate0"])


def test_without_a_map_the_command_that_makes_one_is_told(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no map of level fov .*`locatlas map --atlas"):
        atlas.export("parquet", tmp_path / "out.parquet")
    assert not list(tmp_path.glob("*.parquet"))


def test_proteins_are_exported_without_pictures(atlas: Atlas, tmp_path: Path) -> None:
    atlas.map("protein", of="cell")
    done = atlas.export("parquet", tmp_path / "out.parquet", level="protein", of="cell")
    assert done.command is not None
    assert "--image" not in done.command
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [f"P{n}" for n in range(6)]


def test_profiles_are_metadata_and_features(atlas: Atlas, tmp_path: Path) -> None:
    atlas.export("profiles", tmp_path / "out.parquet", level="cell", where=["plate=plate0"])
    table = pq.read_table(tmp_path / "out.parquet")
    features = [name for name in table.column_names if not name.startswith("Metadata_")]
    assert features == [f"feature_{i:04}" for i in range(DIM)]
    view = atlas.view("cell")
    rows = np.flatnonzero(np.array(view.column("plate")) == "plate0")
    assert table["Metadata_id"].to_pylist() == [view.ids[i] for i in rows]
    assert np.array_equal(np.column_stack([table[name] for name in features]), view.vectors[rows])
    assert set(table["Metadata_plate"].to_pylist()) == {"plate0"}


def test_copairs_reads_profiles(atlas: Atlas, tmp_path: Path) -> None:
    copairs = installed("copairs.map")
    pandas = installed("pandas")
    atlas.export("profiles", tmp_path / "out.parquet", level="fov")
    frame = pandas.read_parquet(tmp_path / "out.parquet")
    metadata, features = frame.filter(regex="^Metadata"), frame.filter(regex="^(?!Metadata)").to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = copairs.average_precision(
            metadata, features, ["Metadata_protein"], [], [], ["Metadata_protein"], progress_bar=False
        )
    assert len(found) == 18
    assert found["average_precision"].between(0, 1).all()


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
