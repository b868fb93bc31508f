"""Maps: the projection, what is placed later, what is stored, and what is said where there is none."""

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsRegressor

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.maps import vector_digests
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.shelf import Shelf
from locatlas.query.atlas import open_atlas
from locatlas.query.map import make as map_make
from locatlas.query.map.make import MapResult, make_map
from locatlas.query.map.projection import fit_pca, place_among
from locatlas.query.map.request import MapRequest
from locatlas.query.map.stored import read_map, unit_digests
from locatlas.query.search.exact import search
from locatlas.query.search.unit import normalize, prepare
from locatlas.types import Neighbors
from tests.query.made_atlas import DIM, encoder, make_atlas, row


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    return make_atlas(tmp_path / "atlas")


def unit(rng: np.random.Generator, n: int, d: int = DIM) -> NDArray[np.float32]:
    vectors = rng.normal(size=(n, d)) * np.linspace(3, 1, d)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made(atlas: Path, **asked: object) -> MapResult:
    return make_map(Shelf(Store.open(atlas)), MapRequest(**{"params": {}, **asked}))  # type: ignore[arg-type]


def add_fields(atlas: Path, vectors: NDArray[np.float32], *, first: int = 0) -> list[str]:
    """Fields of a new protein with these vectors; their ids, ascending."""
    ids = [f"new/{first + i:04}" for i in range(len(vectors))]
    store = Store.open(atlas)
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows([row(i, dataset="new", protein="NEW") for i in ids], "fov"))
        store.put_embeddings("fov", encoder().fingerprint, ids, ["x"] * len(ids), vectors)
    return ids


def test_pca_is_the_projection_of_a_singular_value_decomposition(rng: np.random.Generator) -> None:
    vectors = unit(rng, 200)
    pca, said = fit_pca(prepare(vectors))
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(np.sum(pca.axes * axes[:2], axis=1)), 1, atol=1e-9)
    np.testing.assert_allclose(pca.project(prepare(vectors)), centred @ pca.axes.T, atol=1e-6)
    np.testing.assert_allclose(said["explained_variance"], lengths[:2] ** 2 / np.sum(lengths**2), atol=1e-6)


@pytest.mark.parametrize("n", [5, 4096, 9001])
def test_pca_by_blocks_is_that_of_scikit_learn_with_its_signs(rng: np.random.Generator, n: int) -> None:
    # all in one corner, as vectors of a network are: their mean is much longer than their spread
    vectors = (unit(rng, n, 16) * 0.05 + 1.0).astype(np.float32) * rng.uniform(0.1, 9, (n, 1)).astype(np.float32)
    lines = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    oracle = PCA(n_components=2, svd_solver="full").fit(lines)
    pca, said = fit_pca(prepare(vectors))
    np.testing.assert_allclose(pca.axes, oracle.components_, atol=1e-5)
    np.testing.assert_allclose(pca.project(prepare(vectors)), oracle.transform(lines), atol=1e-6)
    np.testing.assert_allclose(said["explained_variance"], oracle.explained_variance_ratio_, atol=2e-6)


def test_a_projection_needs_little_beside_the_vectors(rng: np.random.Generator) -> None:
    vectors = prepare(rng.standard_normal((60_000, 128), dtype=np.float32))
    tracemalloc.start()
    try:
        pca, _ = fit_pca(vectors)
        pca.project(vectors)
        unit_digests(vectors)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.7 * vectors.vectors.nbytes


def test_digests_by_blocks_are_those_of_all_at_once(rng: np.random.Generator) -> None:
    vectors = 3 * unit(rng, 5000)
    assert np.array_equal(unit_digests(prepare(vectors)), vector_digests(normalize(vectors)))


def test_a_vector_lies_at_the_same_place_whatever_else_is_projected(rng: np.random.Generator) -> None:
    vectors = unit(rng, 500)
    pca, _ = fit_pca(prepare(vectors))
    assert np.array_equal(pca.project(prepare(vectors))[37:40], pca.project(prepare(vectors[37:40])))


def test_points_are_placed_as_scikit_learn_would(rng: np.random.Generator) -> None:
    drawn, new, xy = unit(rng, 80), unit(rng, 20), rng.normal(size=(80, 2)).astype(np.float32)
    new[3] = drawn[5]
    placed = place_among(search(new, drawn, k=7), xy)
    oracle = KNeighborsRegressor(n_neighbors=7, weights="distance", metric="cosine").fit(drawn, xy).predict(new)
    np.testing.assert_allclose(np.delete(placed, 3, axis=0), np.delete(oracle, 3, axis=0), atol=1e-4)
    np.testing.assert_allclose(placed[3], xy[5], atol=1e-4)


def test_a_point_without_neighbors_is_refused() -> None:
    found = Neighbors(np.full((1, 2), -1), np.full((1, 2), np.nan, np.float32))
    with pytest.raises(InputError, match="point 0"):
        place_among(found, np.zeros((3, 2), np.float32))


@pytest.mark.parametrize("level", ["fov", "cell", "protein"])
def test_a_map_is_stored_and_read_back(atlas: Path, level: str) -> None:
    result = made(atlas, level=level)
    view = open_atlas(atlas).view(level)  # type: ignore[arg-type]
    found = read_map(open_atlas(atlas), level)
    assert found.ids == view.ids == result.points.ids
    assert found.xy.dtype == np.float32
    assert np.array_equal(found.xy, result.points.xy)
    vectors = view.vectors / np.linalg.norm(view.vectors, axis=1, keepdims=True)
    pca, _ = fit_pca(prepare(vectors))
    np.testing.assert_allclose(found.xy, pca.project(prepare(vectors)), atol=1e-6)
    assert (found.method, found.params, found.fingerprint) == ("pca", {"seed": 0}, encoder().fingerprint)
    assert found.of == ("fov" if level == "protein" else None)
    assert not found.placed.any()
    assert found.notes == []
    assert found.to_arrow().column_names == ["id", "x", "y", "placed"]


def test_a_second_run_writes_nothing(atlas: Path) -> None:
    made(atlas)
    before = {t: Store.open(atlas).version(t) for t in Store.open(atlas).tables()}
    again = made(atlas)
    assert again.action == "unchanged"
    assert {t: Store.open(atlas).version(t) for t in Store.open(atlas).tables()} == before


def test_images_that_came_later_are_placed_by_the_same_projection(atlas: Path, rng: np.random.Generator) -> None:
    before = made(atlas, level="fov").points
    ids = add_fields(atlas, unit(rng, 4))
    behind = read_map(Store.open(atlas), "fov")
    assert len(behind) == len(before)
    assert "4 of 22 are not on the map" in behind.notes[0]
    result = made(atlas, level="fov")
    assert (result.action, result.n_placed) == ("placed", 4)
    after = result.points
    assert [i for i, p in zip(after.ids, after.placed, strict=True) if p] == ids
    assert np.array_equal(after.xy[~after.placed], before.xy)
    view = open_atlas(atlas).view("fov")
    vectors = view.take(np.array([view.ids.index(i) for i in before.ids])).vectors
    pca, _ = fit_pca(prepare(vectors))
    new = view.vectors[after.placed]
    np.testing.assert_allclose(after.xy[after.placed], pca.project(prepare(new)), atol=1e-5)
    refitted = made(atlas, level="fov", refit=True)
    assert (refitted.action, refitted.why) == ("drawn", "asked for")
    assert not refitted.points.placed.any()


def test_a_changed_vector_is_placed_anew_and_a_gone_image_taken_out(atlas: Path, rng: np.random.Generator) -> None:
    before = made(atlas, level="fov").points
    store = Store.open(atlas)
    with store.folder.writer("a test"):
        store.put_embeddings("fov", encoder().fingerprint, [before.ids[2]], ["x"], unit(rng, 1))
        store.delete("fovs", [before.ids[0]])
        store.delete(StoredEncoder("fov", encoder(), "current").table, [before.ids[0]])
    assert read_map(store, "fov").ids == before.ids[1:]
    result = made(atlas, level="fov")
    assert (result.action, result.n_placed, result.n_gone) == ("placed", 1, 1)
    assert result.points.ids == before.ids[1:]
    assert result.points.placed.tolist() == [i == before.ids[2] for i in before.ids[1:]]


def test_points_whose_vectors_changed_since_are_told_until_they_are_moved(
    atlas: Path, rng: np.random.Generator
) -> None:
    made(atlas, level="fov")
    assert read_map(open_atlas(atlas), "fov").notes == []
    store = Store.open(atlas)
    held = store.read_vectors(encoders.find(store, "fov", None).table)
    with store.folder.writer("a test"):
        some = held.ids[:2]
        store.put_embeddings("fov", encoder().fingerprint, some, held.digests[:2], unit(rng, 2))
    (note,) = read_map(open_atlas(atlas), "fov").notes
    assert note.startswith(f"2 of {len(held.ids)} points stand where their images were before these changed")
    made(atlas, level="fov")
    assert "before these changed" not in " ".join(read_map(open_atlas(atlas), "fov").notes)


def test_vectors_are_not_read_while_their_table_is_as_it_was(
    atlas: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    made(atlas, level="fov")
    store, looked = Store.open(atlas), []
    monkeypatch.setattr("locatlas.query.map.stored.unit_digests", lambda v: looked.append(len(v)) or unit_digests(v))
    points = read_map(store, "fov")
    assert (looked, "as_of" in points.used) == ([], False)
    add_fields(atlas, unit(rng, 2))
    read_map(store, "fov")
    assert looked == [len(points)]
    made(atlas, level="fov")  # which places them
    read_map(store, "fov")
    assert looked == [len(points)]


def test_a_map_whose_vectors_changed_for_the_most_part_is_drawn_anew(atlas: Path, rng: np.random.Generator) -> None:
    before = made(atlas, level="fov").points
    store = Store.open(atlas)
    with store.folder.writer("a test"):
        store.put_embeddings("fov", encoder().fingerprint, before.ids[:12], ["x"] * 12, unit(rng, 12))
    result = made(atlas, level="fov")
    assert result.action == "drawn"
    assert "of 18 points that were drawn, 12 have another vector now" in result.why


def test_a_map_of_vectors_that_were_deleted_meanwhile_is_not_kept(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = StoredEncoder("fov", encoder(), "current").table

    def drawn_while_others_tidy(*given: object) -> object:
        shutil.rmtree(atlas / "db" / f"{table}.lance")
        return draw(*given)

    draw = map_make._draw
    monkeypatch.setattr(map_make, "_draw", drawn_while_others_tidy)
    with pytest.raises(InputError, match="the vectors of made were deleted while they were drawn"):
        made(atlas, level="fov")
    assert Store.open(atlas).count("maps") == 0


def test_zero_vectors_are_not_on_a_map(atlas: Path) -> None:
    ids = add_fields(atlas, np.zeros((1, DIM), np.float32))
    points = made(atlas, level="fov").points
    assert ids[0] not in points.ids
    assert "1 of 19" in points.notes[0]
    assert made(atlas, level="fov").action == "unchanged"


def test_a_map_by_another_encoder_than_the_current_one_is_told(atlas: Path) -> None:
    made(atlas, level="fov")
    store = Store.open(atlas)
    other = StoredEncoder("fov", encoder().with_changes(weights_sha256="imported:other", name="other"), "building")
    with store.folder.writer("a test"):
        ids = read_map(store, "fov").ids
        store.put_embeddings("fov", other.fingerprint, ids, ["x"] * len(ids), np.eye(len(ids), DIM, dtype=np.float32))
        encoders.switch_to(store, other)
    with pytest.raises(InputError, match=r"by encoder other \(there are: pca by made .*`locatlas map --atlas .*`"):
        read_map(store, "fov")
    old = read_map(store, "fov", encoder="made")
    assert "made, which is not the current encoder (other)" in old.notes[-1]
    assert open_atlas(atlas).map("fov").encoder == "other"
    maps = open_atlas(atlas).status()["maps"]
    found = sorted((m["encoder"], m["current"], m["points"]) for m in maps)
    assert found == [("made", False, 18), ("other", True, DIM)]  # the other rows of np.eye are zero


def test_what_makes_no_sense_is_refused_in_one_line(atlas: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown method"):
        made(atlas, method="phate")
    with pytest.raises(UnknownNameError, match="unknown method"):
        read_map(Store.open(atlas), "fov", method="phate")
    with pytest.raises(UnknownNameError, match="unknown level"):
        read_map(Store.open(atlas), "plate")
    with pytest.raises(InputError, match="perplexity is no parameter of pca"):
        made(atlas, params={"perplexity": 5.0})
    with pytest.raises(
        InputError, match=r"no pca map of level cell .*locatlas map --atlas .* --level cell --method pca"
    ):
        read_map(open_atlas(atlas), "cell", method="pca")


def test_fewer_than_three_points_make_no_map(tmp_path: Path) -> None:
    atlas = make_atlas(tmp_path / "atlas", levels=("fov",))
    store = Store.open(atlas)
    with store.folder.writer("a test"):
        ids = read_map_ids(store)
        store.delete(StoredEncoder("fov", encoder(), "current").table, ids[2:])
    with pytest.raises(InputError, match="2 vectors of 8 numbers at level fov have a direction; a map needs"):
        made(atlas)


def read_map_ids(store: Store) -> list[str]:
    return sorted(store.read("fovs", ["id"])["id"].to_pylist())


def test_vectors_that_are_all_the_same_make_no_map(tmp_path: Path) -> None:
    atlas = make_atlas(tmp_path / "atlas", levels=("fov",))
    store = Store.open(atlas)
    with store.folder.writer("a test"):
        ids = read_map_ids(store)
        store.put_embeddings("fov", encoder().fingerprint, ids, ["x"] * len(ids), np.ones((len(ids), DIM), np.float32))
    with pytest.raises(InputError, match="all 18 vectors at level fov are the same"):
        made(atlas, method="tsne")
