"""Unit vectors: checks, norms and L2-normalised copies. Pure."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError

__all__ = ["Prepared", "check_vectors", "normalize", "norms", "prepare", "unit_rows"]

_ROWS_AT_ONCE = 512  # bounds the float64 temporary
_ROWS_IN_CACHE = 64  # of it that stay in the nearest cache


def check_vectors(vectors: NDArray[Any], name: str) -> NDArray[np.float32]:
    """The vectors as (n, d) float32.

    Raises:
        InputError: If the array is not two-dimensional, has no columns, or holds NaN or infinity.
    """
    array = np.asarray(vectors)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        message = f"{name} of shape {array.shape}, dtype {array.dtype}: numbers of shape (n, d) with d >= 1 needed"
        raise InputError(message)
    array = np.ascontiguousarray(array, dtype=np.float32)
    for low in range(0, len(array), _ROWS_AT_ONCE):
        bad = ~np.isfinite(array[low : low + _ROWS_AT_ONCE]).all(axis=1)
        if bad.any():
            message = f"{name}: row {low + int(np.argmax(bad))} holds NaN or infinity"
            raise InputError(message)
    return array


def norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean norms (n,), summed in float64 so that no float32 vector over- or underflows."""
    out = np.empty(len(vectors), dtype=np.float64)
    for low in range(0, len(vectors), _ROWS_AT_ONCE):
        wide = vectors[low : low + _ROWS_AT_ONCE].astype(np.float64)
        out[low : low + _ROWS_AT_ONCE] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    return out


def unit_rows(
    vectors: NDArray[np.float32], lengths: NDArray[np.float64], rows: NDArray[np.int64] | slice
) -> NDArray[np.float32]:
    """A normalised float32 copy of some rows; a zero vector stays zero."""
    return _divided(vectors[rows], lengths[rows])


def _divided(vectors: NDArray[np.float32], lengths: NDArray[np.float64]) -> NDArray[np.float32]:
    out = np.empty(vectors.shape, dtype=np.float32)
    # zero vectors stay zero; in float64, where no float32 vector's factor is out of range
    factor = np.divide(1.0, lengths, out=np.zeros(len(lengths)), where=lengths > 0)[:, None]
    wide = np.empty((min(len(vectors), _ROWS_IN_CACHE), vectors.shape[1]))
    for low in range(0, len(vectors), _ROWS_IN_CACHE):
        part = vectors[low : low + _ROWS_IN_CACHE]
        np.multiply(part, factor[low : low + _ROWS_IN_CACHE], out=wide[: len(part)])
        out[low : low + _ROWS_IN_CACHE] = wide[: len(part)]
    return out


def normalize(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """An L2-normalised copy; the argument is left as it is.

    Args:
        vectors: Shape (n, d), any finite numbers.

    Returns:
        float32 (n, d) with rows of norm 1. A zero vector has no direction: it stays zero ("degenerate"), and no
        search lets it match.

    Raises:
        InputError: As `check_vectors`.
    """
    array = check_vectors(vectors, "vectors")
    return unit_rows(array, norms(array), slice(None))


@dataclass(frozen=True, eq=False)
class Prepared:
    """Checked vectors with their norms, to be searched many times; or some of them in another order, without a copy.

    Attributes:
        vectors: float32 (m, d), finite.
        lengths: Euclidean norms, float64 (n,).
        rows: Which of `vectors` these are, int64 (n,); None where they are those, in order.
    """

    vectors: NDArray[np.float32]
    lengths: NDArray[np.float64]
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self.vectors.shape[1])

    def names(self, which: NDArray[np.int64] | slice) -> NDArray[np.int64] | slice:
        """Where in `vectors` some of these stand."""
        return which if self.rows is None else self.rows[which]

    def raw(self, which: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Some of them as they are, float32 (n_which, d): a view where it can be one."""
        return self.vectors[self.names(which)]

    def unit(self, which: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """A normalised copy of some; a zero vector stays zero."""
        return _divided(self.raw(which), self.lengths[which])

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> "Prepared":
        """Some of them, in that order; the vectors are not copied."""
        rows = np.flatnonzero(which) if which.dtype == np.bool_ else which.astype(np.int64, copy=False)
        return Prepared(self.vectors, self.lengths[rows], rows if self.rows is None else self.rows[rows])

    @cached_property
    def all_directed(self) -> bool:
        """Whether no vector is zero."""
        return bool((self.lengths > 0).all())


def prepare(vectors: "NDArray[Any] | Prepared", name: str = "vectors") -> Prepared:
    """Check vectors and measure them, which takes longer than one look-up; no copy of float32 is made.

    Raises:
        InputError: As `check_vectors`.
    """
    if isinstance(vectors, Prepared):
        return vectors
    array = check_vectors(vectors, name)
    return Prepared(array, norms(array))
