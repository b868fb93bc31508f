"""The torch path against the numpy path; on a GPU where there is one."""

import numpy as np
import pytest

from locatlas.query.search import tiles_torch
from locatlas.query.search.exact import normalize
from locatlas.query.search.exclude import ExclusionIndex


def test_candidates_equal_those_of_one_matrix_product(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles_torch, "_BLOCK", 16)
    monkeypatch.setattr(tiles_torch, "_TILE", 32)
    unit = normalize(rng.normal(size=(150, 8)))
    groups, columns = rng.integers(0, 20, 150), rng.permutation(150)
    exclusions = ExclusionIndex.build([(groups, groups)], n_queries=150, n_references=150, columns=columns)
    found = tiles_torch.search_torch(unit, tiles_torch.on_device(unit[columns], "cpu"), columns, exclusions, 9)
    scores = unit @ unit.T
    scores[groups[:, None] == groups] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(found.indices, expected)
    np.testing.assert_allclose(found.similarities, np.take_along_axis(scores, expected, axis=1), atol=1e-6)


def test_references_that_run_out_are_missing(rng: np.random.Generator) -> None:
    unit, groups = normalize(rng.normal(size=(10, 4))), np.array([0] * 8 + [1] * 2)
    columns = np.arange(10)
    exclusions = ExclusionIndex.build([(groups, groups)], n_queries=10, n_references=10, columns=columns)
    found = tiles_torch.search_torch(unit, tiles_torch.on_device(unit, "cpu"), columns, exclusions, 5)
    np.testing.assert_array_equal((found.indices >= 0).sum(axis=1), [2] * 8 + [5] * 2)
