"""Exact search against a float64 brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.query.search import tiles
from locatlas.query.search.exact import normalize, search
from locatlas.query.search.exclude import Exclusion, encode_names
from locatlas.types import Neighbors


def brute_force(
    queries: np.ndarray,
    references: np.ndarray,
    k: int,
    exclude: list[Exclusion] | None = None,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Float64, one query at a time, one reference at a time."""
    indices = np.full((len(queries), k), -1)
    similarities = np.full((len(queries), k), np.nan)
    wide = references.astype(np.float64)
    for i, query in enumerate(queries.astype(np.float64)):
        hits = []
        for j, reference in enumerate(wide):
            lengths = np.sqrt(query @ query) * np.sqrt(reference @ reference)
            met = any(q[i] >= 0 and q[i] == r[j] for q, r in exclude or [])
            if lengths == 0 or met or (allowed is not None and not allowed[j]):
                continue
            hits.append((-(query * reference).sum() / lengths, j))
        for rank, (negative, j) in enumerate(sorted(hits)[:k]):
            indices[i, rank], similarities[i, rank] = j, -negative
    return indices, similarities


def assert_equals_brute_force(found: Neighbors, expected: tuple[np.ndarray, np.ndarray]) -> None:
    indices, similarities = expected
    np.testing.assert_allclose(found.similarities, similarities, atol=2e-6)
    np.testing.assert_array_equal(found.indices >= 0, indices >= 0)
    # ids may differ only where float64 itself cannot tell the two similarities apart
    for row, rank in zip(*np.nonzero(found.indices != indices), strict=True):
        tied = np.abs(similarities[row] - similarities[row, rank]) < 1e-14
        assert tied.sum() > 1 or rank == found.k - 1, (row, rank)


@pytest.mark.parametrize("n_queries", [1, 7, 90])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_ids_equal_the_float64_brute_force(rng: np.random.Generator, n_queries: int, k: int) -> None:
    queries, references = rng.normal(size=(n_queries, 12)) * 9, rng.normal(size=(300, 12)) + 0.5
    found = search(queries, references, k=k)
    indices, similarities = brute_force(queries.astype(np.float32), references.astype(np.float32), k)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.similarities, similarities, atol=1e-6)
    assert found.indices.dtype == np.int64
    assert found.similarities.dtype == np.float32


def test_many_tiles_and_blocks_equal_one_matrix_product(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_TILE", 64)
    monkeypatch.setattr(tiles, "_BLOCK", 50)
    vectors = rng.normal(size=(1000, 16)).astype(np.float32)
    groups = rng.integers(0, 30, 1000)
    found = search(vectors, vectors, k=25, exclude=[(groups, groups)])
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    scores = unit @ unit.T
    scores[groups[:, None] == groups] = -np.inf
    np.testing.assert_array_equal(found.indices, np.argsort(-scores, axis=1, kind="stable")[:, :25])


def test_a_collapsed_embedding_is_ranked_in_float64(rng: np.random.Generator) -> None:
    """Similarities within 1e-9 of each other: float32 would rank rounding noise."""
    vectors = (1 + 1e-5 * rng.normal(size=(400, 32))).astype(np.float32)
    found = search(vectors, vectors, k=10, exclude=[encode_names(range(400))])
    indices, _ = brute_force(vectors[:40], vectors, 10, [(np.arange(40), np.arange(400))])
    np.testing.assert_array_equal(found.indices[:40], indices)


@pytest.mark.parametrize("n_queries", [3, 200])
def test_equal_vectors_come_in_the_order_of_the_references(rng: np.random.Generator, n_queries: int) -> None:
    references = rng.normal(size=(500, 8)).astype(np.float32)
    references[::3] = references[0]
    queries = np.tile(references[0], (n_queries, 1))
    found = search(queries, references, k=20)
    np.testing.assert_array_equal(found.indices, np.tile(np.arange(0, 60, 3), (n_queries, 1)))
    np.testing.assert_array_equal(found.similarities, 1)


@pytest.mark.parametrize("n_queries", [2, 150])
def test_zero_vectors_neither_find_nor_are_found(rng: np.random.Generator, n_queries: int) -> None:
    queries, references = rng.normal(size=(n_queries, 4)), rng.normal(size=(30, 4))
    queries[1] = 0
    references[[0, 7]] = 0
    found = search(queries, references, k=30)
    assert (found.indices[1] == -1).all()
    assert np.isnan(found.similarities[1]).all()
    others = np.delete(found.indices, 1, axis=0)
    assert not np.isin(others, [0, 7]).any()
    np.testing.assert_array_equal((others >= 0).sum(axis=1), 28)


def test_fewer_references_than_k_leave_the_tail_missing(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(6, 4))
    group = np.array([0, 0, 0, 0, 1, -1])
    found = search(vectors, vectors, k=9, exclude=[(group, group), encode_names("abcdef")])
    np.testing.assert_array_equal((found.indices >= 0).sum(axis=1), [2, 2, 2, 2, 5, 5])
    np.testing.assert_array_equal(np.isnan(found.similarities), found.indices < 0)


def test_without_any_reference_everything_is_missing() -> None:
    found = search(np.ones((2, 3)), np.ones((0, 3)), k=2)
    assert (found.indices == -1).all()
    assert search(np.ones((0, 3)), np.ones((4, 3)), k=2).indices.shape == (0, 2)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_masks_equal_the_brute_force(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_queries, n_references = data.draw(st.sampled_from([1, 5, 80])), data.draw(st.integers(1, 40))
    k = data.draw(st.integers(1, 45))
    # few distinct integer vectors: many exact ties, many zero vectors
    queries = rng.integers(-1, 2, (n_queries, 3)).astype(np.float32)
    references = rng.integers(-1, 2, (n_references, 3)).astype(np.float32)
    exclude = [
        (rng.integers(-1, 4, n_queries), rng.integers(-1, 4, n_references)) for _ in range(data.draw(st.integers(0, 3)))
    ]
    allowed = rng.random(n_references) < 0.7 if data.draw(st.booleans()) else None
    found = search(queries, references, k=k, exclude=exclude, allowed=allowed)
    indices, similarities = brute_force(queries, references, k, exclude, allowed)
    np.testing.assert_array_equal(found.indices >= 0, indices >= 0)
    np.testing.assert_allclose(found.similarities, similarities, atol=1e-6)
    for q, r in exclude:
        for row in range(n_queries):
            hits = found.indices[row][found.indices[row] >= 0]
            assert len(set(hits)) == len(hits)
            assert q[row] < 0 or not (r[hits] == q[row]).any()


def test_neither_argument_is_changed(rng: np.random.Generator) -> None:
    queries, references = rng.normal(size=(100, 3)).astype(np.float32), rng.normal(size=(50, 3)).astype(np.float32)
    before = queries.copy(), references.copy()
    search(queries, references, k=3)
    normalize(queries)
    np.testing.assert_array_equal(queries, before[0])
    np.testing.assert_array_equal(references, before[1])


def test_scale_does_not_matter_even_at_the_edges_of_float32(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(80, 6)).astype(np.float32)
    scale = np.float32(10.0) ** rng.integers(-30, 30, (80, 1)).astype(np.float32)
    found, plain = search(vectors * scale, vectors * scale, k=5), search(vectors, vectors, k=5)
    np.testing.assert_array_equal(found.indices, plain.indices)
    np.testing.assert_allclose(np.linalg.norm(normalize(vectors * scale), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("k", [0, -1, 2.5, True])
def test_k_below_one_is_refused(k: object) -> None:
    with pytest.raises(InputError, match="at least 1"):
        search(np.ones((2, 3)), np.ones((2, 3)), k=k)  # type: ignore[arg-type]


def test_nan_is_refused_with_its_row() -> None:
    vectors = np.ones((5, 3))
    vectors[3, 1] = np.nan
    with pytest.raises(InputError, match="references: row 3"):
        search(np.ones((2, 3)), vectors, k=1)


def test_vectors_of_other_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="queries have 4 numbers"):
        search(np.ones((2, 4)), np.ones((2, 3)), k=1)


def test_names_that_are_missing_belong_to_no_group() -> None:
    queries, references = encode_names(["a", None, "", "b"], ["b", None, "a", ""])
    assert queries.tolist() == [0, -1, -1, 1]
    assert references.tolist() == [1, -1, 0, -1]
