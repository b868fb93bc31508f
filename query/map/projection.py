"""Projections to two dimensions by principal components, and points placed beside their neighbors. Pure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.search.threads import in_threads
from locatlas.query.search.unit import Prepared
from locatlas.types import Neighbors

__all__ = ["Pca", "fit_pca", "place_among"]

_ROWS_AT_ONCE = 2048  # bounds the float64 temporaries
_PARTS, _PARTS_BYTES = 8, 256 << 20  # in which covariances are summed, and what they may take


class Pca:
    """A centre and two axes.

    Attributes:
        mean: (d,) float64.
        axes: (2, d) float64, unit vectors, that of the larger variance first.
    """

    def __init__(self, mean: NDArray[np.float64], axes: NDArray[np.float64]) -> None:
        self.mean = mean
        self.axes = axes

    def project(self, vectors: Prepared) -> NDArray[np.float32]:
        """Coordinates of the unit vectors of (n, d), float32 (n, 2); the same for a vector whatever else is there."""
        out = np.empty((len(vectors), 2), dtype=np.float32)

        def place(low: int) -> None:
            at = slice(low, low + _ROWS_AT_ONCE)
            # einsum without optimize sums each row by itself: a matrix product may differ with the number of rows
            out[at] = np.einsum("nd,cd->nc", vectors.unit(at).astype(np.float64) - self.mean, self.axes)

        in_threads(place, range(0, len(vectors), _ROWS_AT_ONCE))
        return out


def fit_pca(vectors: Prepared) -> tuple[Pca, dict[str, Any]]:
    """The two axes along which unit vectors vary most, as scikit-learn's `PCA(svd_solver="covariance_eigh")` has them.

    The vectors are gone through once, some thousand at a time: nothing as large as they are is made of them.

    Args:
        vectors: (n, d), normalised here; n >= 2, d >= 2, none of them zero, not all of one direction. All are used:
            nothing is drawn at random.

    Returns:
        The projection, and {"explained_variance": share of the variance along each axis}.
    """
    from scipy.linalg import eigh

    n, d = len(vectors), vectors.dim
    # from the first vectors' mean and not from zero: sums of squares far from it would cancel in the last digits
    near = vectors.unit(slice(0, _ROWS_AT_ONCE)).mean(axis=0, dtype=np.float64)
    n_parts = max(1, min(_PARTS, _PARTS_BYTES // (8 * d * d)))
    sums, products = np.zeros((n_parts, d)), np.zeros((n_parts, d, d))

    def add(part: int) -> None:
        """One part of the rows, which are the same on any number of cores: so are the last digits."""
        for low in range(part * _ROWS_AT_ONCE, n, n_parts * _ROWS_AT_ONCE):
            unit = vectors.unit(slice(low, low + _ROWS_AT_ONCE)).astype(np.float64)
            unit -= near
            sums[part] += unit.sum(axis=0)
            products[part] += unit.T @ unit

    in_threads(add, range(n_parts))
    total, covariance = sums.sum(axis=0), products.sum(axis=0)
    covariance -= np.outer(total, total / n)
    covariance /= n - 1
    variance = float(np.trace(covariance))
    lengths, columns = eigh(covariance, subset_by_index=[d - 2, d - 1], overwrite_a=True, check_finite=False)
    axes = columns.T[::-1]
    # an axis has two directions: the one whose largest number is positive, which is scikit-learn's rule too
    axes = np.ascontiguousarray(axes * np.sign(axes[[0, 1], np.abs(axes).argmax(axis=1)])[:, None])
    shares = [round(max(float(x), 0.0) / variance, 6) for x in lengths[::-1]]
    return Pca(near + total / n, axes), {"explained_variance": shares}


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
