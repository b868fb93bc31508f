"""Vectors at length 1, as indices hold them and are asked. Pure."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["unit_vectors"]


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The (n, d) vectors at length 1; zero vectors stay zero."""
    # in float64, where no square of a float32 under- or overflows
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
