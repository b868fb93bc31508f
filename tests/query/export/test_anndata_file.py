"""AnnData read back by its own package, and the graph compared with brute force."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from locatlas.errors import InputError
from locatlas.indexer.store.encoders import StoredEncoder, put
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.view import View
from locatlas.query.atlas import Atlas, open_atlas
from locatlas.query.export import anndata_file
from locatlas.query.export.chosen import choose
from tests.query.export.test_export import HOSTILE, atlas, cosines, installed, nearest
from tests.query.made_atlas import DIM, encoder, make_atlas, row

__all__ = ["atlas"]


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
