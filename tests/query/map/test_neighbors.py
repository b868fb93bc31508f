"""UMAP and t-SNE from exact neighbors: reproducible, and neighborhoods survive."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness

from locatlas.errors import InputError
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.shelf import Shelf
from locatlas.query.map.make import MapResult, make_map
from locatlas.query.map.neighbors import tsne, umap
from locatlas.query.map.projection import fit_pca
from locatlas.query.map.request import MapRequest
from locatlas.query.search.unit import prepare
from tests.query.made_atlas import make_atlas
from tests.query.map.test_stored import add_fields, unit


def clusters(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Six directions in twelve dimensions, forty vectors around each."""
    centres = np.linalg.qr(rng.normal(size=(12, 6)))[0].T
    of = np.repeat(np.arange(6), 40)
    vectors = centres[of] + 0.15 * rng.normal(size=(240, 12))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), of


def check(draw: Callable[..., Any], rng: np.random.Generator, **params: Any) -> None:
    vectors, of = clusters(rng)
    start = fit_pca(prepare(vectors))[0].project(prepare(vectors))
    xy, _ = draw(prepare(vectors), start, seed=4, **params)
    assert xy.shape == (240, 2)
    assert xy.dtype == np.float32
    again, _ = draw(prepare(vectors), start, seed=4, **params)
    assert np.array_equal(xy, again)
    # independent of how it was drawn: neighbors on the map are neighbors by cosine
    assert trustworthiness(vectors, xy, n_neighbors=10, metric="cosine") > 0.9
    distances = np.linalg.norm(xy[:, None] - xy[None], axis=-1) + np.diag(np.full(240, np.inf))
    assert np.mean(of[distances.argmin(axis=1)] == of) > 0.98


def test_tsne_keeps_neighborhoods_and_is_the_same_again(rng: np.random.Generator) -> None:
    pytest.importorskip("openTSNE", reason="extra tsne")
    check(tsne, rng, perplexity=15.0)


@pytest.mark.slow  # numba compiles for half a minute
def test_umap_keeps_neighborhoods_and_is_the_same_again(rng: np.random.Generator) -> None:
    pytest.importorskip("numba", reason="extra umap")
    check(umap, rng, n_neighbors=10, min_dist=0.1)


@pytest.mark.slow
def test_umap_of_few_points_says_how_many_neighbors_it_had(rng: np.random.Generator) -> None:
    pytest.importorskip("numba", reason="extra umap")
    vectors = unit(rng, 10)
    xy, used = umap(
        prepare(vectors), fit_pca(prepare(vectors))[0].project(prepare(vectors)), n_neighbors=15, min_dist=0.1, seed=0
    )
    assert np.isfinite(xy).all()
    assert used["n_neighbors"] == 9


def made(atlas: Path, **asked: object) -> MapResult:
    return make_map(Shelf(Store.open(atlas)), MapRequest(**{"params": {}, "method": "tsne", **asked}))  # type: ignore[arg-type]


def test_later_images_are_placed_where_their_neighbors_lie(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("openTSNE", reason="extra tsne")
    atlas = make_atlas(tmp_path / "atlas", levels=("fov",))
    result = made(atlas)
    assert result.points.used["perplexity"] == round(17 / 3, 6)  # of 18 points, not the 30 asked for
    assert result.points.params == {"perplexity": 30.0, "seed": 0}
    store = Store.open(atlas)
    table = next(t for t in store.tables() if t.startswith("emb_fov"))
    ids = add_fields(atlas, store.read_vectors(table).vectors[3:4])  # the very vector of another
    placed = made(atlas)
    assert (placed.action, placed.n_placed) == ("placed", 1)
    at = dict(zip(placed.points.ids, placed.points.xy, strict=True))
    before = result.points
    np.testing.assert_allclose(at[ids[0]], before.xy[3], atol=1e-3)
    assert all(np.array_equal(at[name], xy) for name, xy in zip(before.ids, before.xy, strict=True))
    assert "15 nearest drawn neighbors" in placed.points.notes[0]
    assert made(atlas, seed=1).why == "another seed than before (0)"
    assert made(atlas, seed=1, params={"perplexity": 3.0}).why.startswith("other parameters than before")


def test_what_cannot_be_drawn_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = make_atlas(tmp_path / "atlas", levels=("fov",))
    with pytest.raises(InputError, match="6 vectors: tsne needs at least 10; method pca takes 3"):
        made(atlas, level="protein")
    with pytest.raises(InputError, match="perplexity 1: a number from 2 to 1000"):
        made(atlas, params={"perplexity": 1})
    with pytest.raises(InputError, match="seed -1"):
        made(atlas, seed=-1)
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(InputError, match=r"needs openTSNE: pip install 'locatlas\[tsne\]'"):
        made(atlas)
    with pytest.raises(InputError, match=r"needs umap-learn: pip install 'locatlas\[umap\]'"):
        made(atlas, method="umap")
