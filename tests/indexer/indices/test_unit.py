"""Unit vectors."""

import numpy as np

from locatlas.indexer.indices.unit import unit_vectors


def test_unit_vectors_have_length_one_and_zero_stays_zero() -> None:
    made = unit_vectors(np.array([[3, 4], [0, 0], [1e-30, 0]], np.float32))
    np.testing.assert_allclose(made, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
