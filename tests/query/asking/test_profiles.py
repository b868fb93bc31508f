"""Proteins as means and medoids of their images, against brute force."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.answers.tables import context
from locatlas.query.asking.profiles import by_protein, profile
from locatlas.query.asking.view import View
from locatlas.query.atlas import Atlas, open_atlas
from tests.query.asking.test_view import image, table
from tests.query.made_atlas import make_atlas


def made_view(vectors: list[list[float]], **columns: list[Any]) -> View:
    names = [f"d/{chr(97 + i)}" for i in range(len(vectors))]
    rows = [image(name, **{c: v[i] for c, v in columns.items()}) for i, name in enumerate(names)]
    return View.build("fov", names, np.array(vectors, dtype=np.float32), table(rows))


def test_a_protein_is_the_mean_of_unit_vectors_with_all_its_localizations() -> None:
    view = made_view(
        [[3, 4], [0, 2], [9, 9], [5, 0]],
        protein=["A", "A", None, "B"],
        localizations=[["er"], ["golgi"], [], []],
        dataset=["d", "e", "d", "d"],
    )
    proteins = by_protein(view)
    assert proteins.ids == ["A", "B"]
    np.testing.assert_allclose(proteins.vectors, [[3 / 10, 9 / 10], [1, 0]], atol=1e-7)
    assert proteins.localizations == [frozenset({"er", "golgi"}), frozenset()]
    assert proteins.column("dataset") == ["d+e", "d"]
    assert proteins.column("n_images") == [2, 1]
    assert proteins.column("medoid") == [None, None]


def test_the_medoid_is_the_image_most_like_the_others() -> None:
    view = made_view([[1, 0], [4, 3], [0, 7], [1, -1]], protein=["A", "A", "A", "B"])
    proteins = by_protein(view, "medoid")
    # mean cosines to the other two: (4/5 + 0)/2, (4/5 + 3/5)/2, (0 + 3/5)/2
    assert proteins.column("medoid") == ["d/b", "d/d"]
    np.testing.assert_allclose(proteins.vectors[0], [0.8, 0.6], atol=1e-7)


def test_of_equal_medoids_the_first_id_is_taken() -> None:
    assert by_protein(made_view([[1, 0], [0, 1]], protein=["A", "A"]), "medoid").column("medoid") == ["d/a"]
    twins = made_view([[0, 1], [3, 1], [6, 2], [1, 0]], protein=["A"] * 4)
    assert by_protein(twins, "medoid").column("medoid") == ["d/b"]


def test_a_zero_vector_is_no_medoid_unless_there_is_nothing_else() -> None:
    assert by_protein(made_view([[0, 0], [1, 0], [-1, 0]], protein=["A"] * 3), "medoid").column("medoid") == ["d/b"]
    assert by_protein(made_view([[0, 0], [0, 0]], protein=["A"] * 2), "medoid").column("medoid") == ["d/a"]


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.just(3)), elements=st.integers(-4, 4)))
def test_the_medoid_is_that_of_brute_force(vectors: NDArray[np.float32]) -> None:
    vector, row = profile(vectors, "medoid")
    assert row is not None
    there = vectors.any(axis=1)
    if not there.any():
        assert row == 0
        return
    cosines = cosine_similarity(vectors.astype(np.float64))
    np.fill_diagonal(cosines, 0)
    mean = np.where(there, cosines.sum(axis=1) / max(len(vectors) - 1, 1), -np.inf)
    best = np.flatnonzero(mean >= mean.max() - 1e-6)  # unit vectors are float32
    assert row in best
    np.testing.assert_allclose(vector, vectors[row] / np.linalg.norm(vectors[row].astype(np.float64)), atol=1e-6)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown profile 'median'; known: mean, medoid"):
        profile(np.ones((1, 2), np.float32), "median")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return open_atlas(make_atlas(tmp_path_factory.mktemp("made") / "atlas"))


@pytest.mark.parametrize("how", ["mean", "medoid"])
@pytest.mark.parametrize("of", ["fov", "cell"])
def test_proteins_near_a_protein_are_ranked_by_their_profiles(atlas: Atlas, how: Any, of: str) -> None:
    images = atlas.view(of)  # type: ignore[arg-type]
    unit = images.vectors.astype(np.float64) / np.linalg.norm(images.vectors, axis=1, keepdims=True).astype(np.float64)
    proteins, own, typical = np.array(images.column("protein")), {}, {}
    for name in np.unique(proteins):
        mine = np.flatnonzero(proteins == name)
        cosines = unit[mine] @ unit[mine].T
        row = mine[(cosines.sum(axis=1) - 1).argmax()]
        own[name] = unit[mine].mean(axis=0) if how == "mean" else unit[row]
        typical[name] = images.ids[row]
    query = own["P0"] / np.linalg.norm(own["P0"])
    expected = {name: v @ query / np.linalg.norm(v) for name, v in own.items() if name != "P0"}
    found = atlas.neighbors(protein="P0", level="protein", profile=how, of=of, k=5)
    assert found["id"].to_pylist() == sorted(expected, key=expected.__getitem__, reverse=True)
    np.testing.assert_allclose(found["similarity"].to_numpy(), sorted(expected.values(), reverse=True), atol=1e-6)
    assert context(found)["profile"] == {"how": how, "of": of}
    if how == "medoid":
        assert found["medoid"].to_pylist() == [typical[name] for name in found["id"].to_pylist()]


def test_without_a_word_proteins_are_means_of_fields_or_of_cells_where_there_are_none(
    atlas: Atlas, tmp_path: Path
) -> None:
    asked = {"protein": "P0", "level": "protein", "k": 1}
    assert context(atlas.neighbors(**asked))["profile"] == {"how": "mean", "of": "fov"}
    cells = open_atlas(make_atlas(tmp_path / "atlas", levels=("cell",)))
    assert context(cells.neighbors(**asked))["profile"] == {"how": "mean", "of": "cell"}
    with pytest.raises(InputError, match="no vectors at level fov"):
        cells.neighbors(**asked, of="fov")


def test_profiles_belong_to_proteins(atlas: Atlas) -> None:
    for asked in ({"profile": "medoid"}, {"of": "cell"}, {"profile": "mean", "level": "fov"}):
        with pytest.raises(InputError, match="level protein needed"):
            atlas.neighbors(protein="P0", **asked)
    with pytest.raises(UnknownNameError, match="unknown image level 'protein'; known: cell, fov"):
        atlas.neighbors(protein="P0", level="protein", of="protein")
