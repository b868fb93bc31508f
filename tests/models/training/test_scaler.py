import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from locatlas.errors import InputError
from locatlas.models.training.scaler import Scaler


def test_the_scale_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(3.0, 20.0, (40, 6)).astype(np.float32)
    vectors[:, 2] = 0.1  # constant: not to be divided by rounding
    vectors[:, 3] *= 1e6
    others = random.normal(size=(7, 6)).astype(np.float32)
    theirs = StandardScaler().fit(vectors.astype(np.float64))
    mine = Scaler.fit(vectors)
    np.testing.assert_allclose(mine.mean, theirs.mean_, rtol=1e-12)
    np.testing.assert_allclose(mine.scale, theirs.scale_, rtol=1e-12)
    np.testing.assert_allclose(mine.apply(others), theirs.transform(others), rtol=1e-5, atol=1e-6)
    assert mine.apply(others).dtype == np.float32


def test_one_row_is_its_own_mean() -> None:
    assert Scaler.fit(np.array([[2.0, 5.0]])).apply(np.array([[2.0, 6.0]])).tolist() == [[0.0, 1.0]]


def test_nothing_cannot_be_a_scale() -> None:
    with pytest.raises(InputError, match="at least one row"):
        Scaler.fit(np.zeros((0, 3)))
