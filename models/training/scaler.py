"""Standardization of vectors: mean 0 and standard deviation 1 over the rows it was fitted to. Pure."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError

__all__ = ["Scaler"]


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """Mean and standard deviation (n, not n - 1) of each number of a vector, as scikit-learn's `StandardScaler`.

    Attributes:
        mean: float64 (d,).
        scale: float64 (d,), > 0; 1 where a number does not vary but for rounding.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, vectors: NDArray[Any]) -> Self:
        """The scaler of some rows: those of the training part and no others.

        Args:
            vectors: Shape (n, d), n >= 1, finite.

        Raises:
            InputError: If there are no rows.
        """
        if vectors.ndim != 2 or len(vectors) == 0:
            message = f"vectors of shape {vectors.shape}: (n, d) with at least one row needed to standardize by"
            raise InputError(message)
        n, wide = len(vectors), vectors.astype(np.float64)
        mean, variance = wide.mean(axis=0), wide.var(axis=0)
        # what rounding alone makes of equal numbers, as bounded by Chan, Golub and LeVeque 1982 (scikit-learn's rule)
        eps = np.finfo(np.float64).eps
        constant = variance <= n * eps * variance + (n * mean * eps) ** 2
        return cls(mean, np.where(constant, 1.0, np.sqrt(variance)))

    def apply(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        """Other rows on the same scale, float32 (n, d)."""
        scaled: NDArray[np.float32] = ((vectors - self.mean) / self.scale).astype(np.float32)
        return scaled
