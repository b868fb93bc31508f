"""Vectors and scores as bfloat16: coded with a mean taken out and errors measured, compared by their bits. Pure.

The bits of bfloat16 numbers above zero are ordered as integers are: so numpy, which has no such type, compares them.
Codes take half of the memory that vectors take, so those of many vectors are not kept but made tile by tile, each time
anew: with the same operations in the same order, so that they are the ones whose errors were measured.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.query.search.threads import in_threads
from locatlas.query.search.unit import Prepared

__all__ = ["KEPT_BYTES", "LEAST", "Coded", "bits_below", "code", "floats", "half_unit", "true_places"]

LEAST = np.int16(-0x8000)
"""Below the bits of every score above zero."""

KEPT_BYTES = 16 << 20
"""Codes that are kept; of more, each tile is made when it is multiplied."""

_ROWS_AT_ONCE = 256  # small enough for a core's own cache
_SAMPLE = 8192  # vectors whose mean is taken


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """References in bfloat16, a mean taken out.

    Attributes:
        vectors: All of `Prepared.vectors` as torch sees them, float32 (m, d).
        names: Which of them these are, torch int64 (n,).
        factor: 1 / norm, torch float32 (n,).
        mean: float32 (d,).
        kept: Codes, torch bfloat16 (n, d); None where they are made when they are needed.
        error: Largest norm of what coding lost.
        norm: Largest norm of a coded vector before coding.
    """

    vectors: Any
    names: Any
    factor: Any
    mean: NDArray[np.float32]
    kept: Any = None
    error: float = 0.0
    norm: float = 0.0

    def __len__(self) -> int:
        return len(self.names)

    def take(self, places: NDArray[np.int64]) -> Any:
        """Codes of some, torch bfloat16 (n_places, d)."""
        import torch

        some = torch.from_numpy(places)
        if self.kept is not None:
            return self.kept[some]
        part = Coded(self.vectors, self.names[some], self.factor[some], self.mean)
        return part.tile(0, len(places), Room(len(places), self.vectors.shape[1]))

    def tile(self, low: int, high: int, room: "Room") -> Any:
        """Codes of [low, high), torch bfloat16: kept ones, or written into the room."""
        if self.kept is not None:
            return self.kept[low:high]
        for start in range(low, high, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, high)
            self._write(start, stop, room.codes[start - low : stop - low], room.wide[: stop - start])
        return room.codes[: high - low]

    def _write(self, low: int, high: int, codes: Any, wide: Any) -> None:
        """Write codes, and the float32 vectors that they stand for; each operation rounds alike wherever a row is."""
        import torch

        torch.index_select(self.vectors, 0, self.names[low:high], out=wide)
        wide.mul_(self.factor[low:high, None]).sub_(torch.from_numpy(self.mean))
        codes.copy_(wide)

    def _measured(self, kept: Any) -> Self:
        """With the largest error and norm, and with codes where there is a place for them."""
        import torch

        n, d = len(self), self.vectors.shape[1]
        starts = range(0, n, 16 * _ROWS_AT_ONCE)
        worst = np.zeros((len(starts), 2))

        def part(first: int) -> None:
            wide, codes = (torch.empty((_ROWS_AT_ONCE, d), dtype=kind) for kind in (torch.float32, torch.bfloat16))
            for low in range(first, min(first + starts.step, n), _ROWS_AT_ONCE):
                high = min(low + _ROWS_AT_ONCE, n)
                there = codes[: high - low] if kept is None else kept[low:high]
                vectors = wide[: high - low]
                self._write(low, high, there, vectors)
                longest = float(torch.linalg.vector_norm(vectors, dim=1).max())
                vectors.sub_(there)
                found = longest, float(torch.linalg.vector_norm(vectors, dim=1).max())
                worst[first // starts.step] = np.maximum(worst[first // starts.step], found)

        in_threads(part, starts, torch_too=True)
        norm, error = worst.max(axis=0) * (1 + 1e-4 + 2.0**-24 * d)  # the float32 sums that measured them
        return type(self)(self.vectors, self.names, self.factor, self.mean, kept, float(error), float(norm))


class Room:
    """Where a thread makes the codes of a tile."""

    def __init__(self, n: int, d: int) -> None:
        import torch

        self.codes = torch.empty((n, d), dtype=torch.bfloat16)
        self.wide = torch.empty((_ROWS_AT_ONCE, d), dtype=torch.float32)


def code(searched: Prepared, columns: NDArray[np.int64]) -> Coded:
    """Unit vectors of some rows, less their mean (that of a sample: any will do), in bfloat16.

    Args:
        searched: Vectors of norms within 1e-15 and 1e15.
        columns: Which of them. Those that stand together in memory should follow each other.
    """
    import torch

    n, d = len(columns), searched.dim
    some = columns[np.sort(np.random.default_rng(0).choice(n, min(n, _SAMPLE), replace=False))]
    total = np.zeros(d)
    for low in range(0, len(some), _ROWS_AT_ONCE):
        total += searched.unit(some[low : low + _ROWS_AT_ONCE]).sum(axis=0, dtype=np.float64)
    names = torch.from_numpy(np.ascontiguousarray(searched.names(columns)))
    factor = torch.from_numpy((1.0 / searched.lengths[columns]).astype(np.float32))
    coded = Coded(_quiet_tensor(searched.vectors), names, factor, (total / len(some)).astype(np.float32))
    kept = torch.empty((n, d), dtype=torch.bfloat16) if 2 * n * d <= KEPT_BYTES else None
    return coded._measured(kept)


def _quiet_tensor(vectors: NDArray[np.float32]) -> Any:
    """The vectors as torch sees them, without a copy.

    That they may be read-only, and that sparse matrices are new, torch says once in a process: here, where no thread
    runs yet, it is kept quiet. Nothing is written to them.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.zeros(1), size=(1, 1))
        return torch.from_numpy(vectors)


def true_places(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """`np.flatnonzero`, but faster where few are true: eight at once."""
    if mask.size % 8:
        return np.flatnonzero(mask)
    eights = mask.reshape(-1).view(np.uint64)
    words = np.flatnonzero(eights != 0)  # of booleans it is several times as fast as of numbers
    inside = np.flatnonzero(eights[words].view(np.bool_))
    return (words * 8)[inside >> 3] + (inside & 7)


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
