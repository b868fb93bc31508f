"""Vectors and scores as bfloat16: coded with a mean taken out and errors measured, compared by their bits. Pure.

The bits of bfloat16 numbers above zero are ordered as integers are: so numpy, which has no such type, compares them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.threads import in_threads
from locatlas.query.unit import Prepared

__all__ = ["LEAST", "Coded", "bits_below", "code", "floats", "half_unit", "true_places"]

LEAST = np.int16(-0x8000)
"""Below the bits of every score above zero."""

_ROWS_AT_ONCE = 1024  # small enough for a core's own cache
_SAMPLE = 8192  # vectors whose mean is taken


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """References in bfloat16, a mean taken out.

    Attributes:
        codes: Torch bfloat16 (n, d).
        mean: float32 (d,).
        error: Largest norm of what coding lost.
        norm: Largest norm of a coded vector before coding.
    """

    codes: Any
    mean: NDArray[np.float32]
    error: float
    norm: float


def code(searched: Prepared, columns: NDArray[np.int64]) -> Coded:
    """Unit vectors of some rows, less their mean (that of a sample: any will do), in bfloat16."""
    import torch

    n, d = len(columns), searched.dim
    some = columns[np.sort(np.random.default_rng(0).choice(n, min(n, _SAMPLE), replace=False))]
    total = np.zeros(d)
    for low in range(0, len(some), _ROWS_AT_ONCE):
        total += searched.unit(some[low : low + _ROWS_AT_ONCE]).sum(axis=0, dtype=np.float64)
    mean = (total / len(some)).astype(np.float32)
    codes = torch.empty((n, d), dtype=torch.bfloat16)
    worst = np.zeros((len(range(0, n, _ROWS_AT_ONCE)), 2))

    def part(low: int) -> None:
        vectors = searched.unit(columns[low : low + _ROWS_AT_ONCE])
        vectors -= mean
        there = codes[low : low + len(vectors)]
        there.copy_(torch.from_numpy(vectors))
        longest = float(np.einsum("nd,nd->n", vectors, vectors).max())
        vectors -= there.float().numpy()
        worst[low // _ROWS_AT_ONCE] = longest, float(np.einsum("nd,nd->n", vectors, vectors).max())

    in_threads(part, range(0, n, _ROWS_AT_ONCE), torch_too=True)
    norm, error = np.sqrt(worst.max(axis=0)) * (1 + 1e-4)  # the float32 sums that measured them
    return Coded(codes, mean, float(error), float(norm))


def true_places(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """`np.flatnonzero`, but faster where few are true: eight at once."""
    if mask.size % 8:
        return np.flatnonzero(mask)
    words = np.flatnonzero(mask.reshape(-1).view(np.uint64))
    inside = np.flatnonzero(mask.reshape(-1, 8)[words])
    return words[inside >> 3] * 8 + (inside & 7)


def floats(bits: NDArray[np.int16]) -> NDArray[np.float64]:
    """The numbers that bits of bfloat16 stand for."""
    return (bits.astype(np.int32) << 16).view(np.float32).astype(np.float64)


def bits_below(numbers: NDArray[np.float64]) -> NDArray[np.int16]:
    """Bits of the largest bfloat16 numbers that are not above these; 0 for negative ones."""
    # float32 may round up, by less than what bfloat16 leaves out but for numbers just below one of its own
    wide = np.nextafter(np.maximum(numbers, 0).astype(np.float32), np.float32(0))
    return (wide.view(np.int32) >> 16).astype(np.int16)


def half_unit(bits: NDArray[np.int16]) -> NDArray[np.float64]:
    """What rounding to bfloat16 may have taken from numbers >= 0 of these bits: half the way to the next one."""
    return (floats(bits + np.int16(1)) - floats(bits)) / 2
