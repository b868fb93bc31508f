"""Projections to two dimensions by principal components, and points placed beside their neighbors. Pure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.types import Neighbors

__all__ = ["Pca", "fit_pca", "place_among"]

_ROWS_AT_ONCE = 65536


class Pca:
    """A centre and two axes.

    Attributes:
        mean: (d,) float64.
        axes: (2, d) float64, unit vectors, that of the larger variance first.
    """

    def __init__(self, mean: NDArray[np.float64], axes: NDArray[np.float64]) -> None:
        self.mean = mean
        self.axes = axes

    def project(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coordinates of unit vectors (n, d), float32 (n, 2); the same for a vector whatever else is there."""
        out = np.empty((len(unit), 2), dtype=np.float32)
        for low in range(0, len(unit), _ROWS_AT_ONCE):
            part = unit[low : low + _ROWS_AT_ONCE].astype(np.float64) - self.mean
            # einsum without optimize sums each row by itself: a matrix product may differ with the number of rows
            out[low : low + _ROWS_AT_ONCE] = np.einsum("nd,cd->nc", part, self.axes)
        return out


def fit_pca(unit: NDArray[np.float32]) -> tuple[Pca, dict[str, Any]]:
    """The two axes along which unit vectors vary most.

    Args:
        unit: (n, d) float32, n >= 2, d >= 2, not all the same. All are used: nothing is drawn at random.

    Returns:
        The projection, and {"explained_variance": share of the variance along each axis}.
    """
    from sklearn.decomposition import PCA

    # the covariance's eigenvectors, with signs settled by scikit-learn: the same on every run
    fitted = PCA(n_components=2, svd_solver="covariance_eigh").fit(unit.astype(np.float64))
    shares = [round(float(x), 6) for x in fitted.explained_variance_ratio_]
    return Pca(fitted.mean_, fitted.components_), {"explained_variance": shares}


def place_among(neighbors: Neighbors, xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the places of each point's neighbors, weighted by 1 / (1 - cosine similarity).

    This is what scikit-learn's `KNeighborsRegressor(weights="distance", metric="cosine")` gives: a point that has the
    very vector of others lies where these lie.

    Args:
        neighbors: Rows of `xy`, (n, k); -1 where there is none.
        xy: Places of the points that were drawn, (m, 2).

    Returns:
        (n, 2) float32.

    Raises:
        InputError: If a point has no neighbor.
    """
    there = neighbors.indices >= 0
    if not there.any(axis=1).all():
        message = f"point {int(np.argmin(there.any(axis=1)))} has no neighbor to be placed by"
        raise InputError(message)
    distances = np.where(there, np.maximum(1.0 - neighbors.similarities.astype(np.float64), 0.0), np.inf)
    same = distances == 0
    with np.errstate(divide="ignore"):
        weights = np.where(same.any(axis=1, keepdims=True), same.astype(np.float64), 1.0 / distances)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkc->nc", weights, xy[np.maximum(neighbors.indices, 0)].astype(np.float64)).astype(np.float32)
