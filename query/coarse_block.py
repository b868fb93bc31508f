"""One block of queries against all references in bfloat16: listed, scored again, proven. Pure; needs torch.

What is listed of a row is all that beats a threshold, which a sample of the references gives. What is scored again is
all that the bound on the errors of its vectors does not rule out, as far as can be told before: the gap in score from
the last wanted one to the best that is left behind is to be as large as the bound and what errors are observed to be.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.query.bfloat16 import LEAST, Coded, bits_below, code, floats, half_unit, true_places
from locatlas.query.exclude import ExclusionIndex
from locatlas.query.tiles import Candidates
from locatlas.query.unit import Prepared

__all__ = ["BLOCK", "References", "Search"]

BLOCK = 512  # queries and
_TILE = 4096  # references of one tile: 4 MiB of bfloat16 scores
_SAMPLE = (1024, 4096)  # references that tell how near the best are: an eighth, within these
_AFTER = 256  # queries whose best are scored again together: what that takes stays in a core's own cache
_SPARE = 256  # at most kept beyond the wanted; rows that need more, for many are as near, are not proven
_LISTED = 1 << 14  # at most of one row; their numbers must fit 16 bits
_NONE = np.int16(0x7F00)  # bits of a threshold that nothing beats
_OBSERVED = 0.25  # share of the bound that errors are expected to reach; they reach an eighth


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """What is searched, laid out once for all blocks of queries.

    Attributes:
        searched: Vectors.
        columns: Which of them are searched, int64 (n,), all of norms within 1e-15 and 1e15. Fast where alike ones
            stand together.
        sorted_by: Codes of the searched, sorted; None if they are not sorted.
        tensor: All of `searched.vectors` as torch sees them.
        coded: The searched ones in bfloat16.
        sample: Places of some of the searched ones, ascending.
        sample_codes: Theirs.
    """

    searched: Prepared
    columns: NDArray[np.int64]
    sorted_by: NDArray[np.int64] | None
    tensor: Any
    coded: Coded
    sample: NDArray[np.int64]
    sample_codes: Any

    @classmethod
    def of(cls, searched: Prepared, columns: NDArray[np.int64], sorted_by: NDArray[np.int64] | None) -> Self:
        """Code what is searched."""
        import torch

        n, coded = len(columns), code(searched, columns)
        n_sample = min(n, max(_SAMPLE[0], min(_SAMPLE[1], n // 8)))
        sample = np.sort(np.random.default_rng(0).choice(n, n_sample, replace=False))
        codes = coded.codes[torch.from_numpy(sample)]
        return cls(searched, columns, sorted_by, _quiet_tensor(searched.vectors), coded, sample, codes)


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


class _Space:
    """Arrays that a thread uses again and again: fresh memory is slow, and freed memory is not always given back."""

    def __init__(self, n_rows: int, room: int) -> None:
        import torch

        self.tile = torch.empty(n_rows * _TILE, dtype=torch.bfloat16)
        self.above = np.empty(n_rows * _TILE, dtype=np.bool_)
        self.scores = np.empty((n_rows, room), dtype=np.int16)
        self.columns = np.empty((n_rows, room), dtype=np.int32)
        self.filled = np.empty(n_rows, dtype=np.int64)

    def widen(self, room: int) -> None:
        """More places for each row."""
        for name in ("scores", "columns"):
            old = getattr(self, name)
            new = np.empty((len(old), room), dtype=old.dtype)
            new[:, : old.shape[1]] = old
            setattr(self, name, new)


@dataclass(frozen=True, slots=True, eq=False)
class _Asking:
    """Queries of a block.

    Attributes:
        unit: float32 (n, d).
        codes: In bfloat16.
        bound: What a coarse score may be off, but for its own rounding, (n,).
        offset: Products with the mean that was taken out of the references, (n,).
    """

    unit: NDArray[np.float32]
    codes: Any
    bound: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, unit: NDArray[np.float32], coded: Coded) -> Self:
        import torch

        codes = torch.from_numpy(unit).bfloat16()
        wide, narrow = unit.astype(np.float64), codes.double().numpy()
        offset = wide @ coded.mean
        norm = np.sqrt(np.einsum("nd,nd->n", narrow, narrow))
        wide -= narrow
        bound = norm * coded.error + np.sqrt(np.einsum("nd,nd->n", wide, wide)) * coded.norm
        bound += 2.0**-23 * unit.shape[1] * (norm * (coded.norm + coded.error) + 1)  # of sums, also of those in float32
        return cls(unit, codes, bound, offset)

    def margin(self, bits: NDArray[np.int16], rows: slice = slice(None)) -> NDArray[np.float64]:
        """How far below these scores of the last wanted ones the best that is left behind should be."""
        return (1 + _OBSERVED) * self.bound[rows] + 2 * half_unit(bits)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What every block needs."""

    asked: Prepared
    references: References
    exclusions: ExclusionIndex
    of_sample: ExclusionIndex
    width: int
    spaces: list[_Space] = field(default_factory=list)

    def block(
        self, rows: NDArray[np.int64], skipped: tuple[int, int]
    ) -> Iterator[tuple[NDArray[np.int64], Candidates, NDArray[np.bool_]]]:
        """Some of the queries, their candidates, and whether those of each are proven; after each other all."""
        asking = _Asking.of(self.asked.unit(rows), self.references.coded)
        try:
            space = self.spaces.pop()
        except IndexError:  # all are in use by other threads
            space = _Space(BLOCK, 2 * self.width + BLOCK)
        threshold = self._threshold(rows, asking, skipped, space)
        self._list(rows, asking, skipped, threshold, space)
        for low in range(0, len(rows), _AFTER):
            at = slice(low, min(low + _AFTER, len(rows)))
            yield rows[at], *self._best(asking, at, threshold, space)
        self.spaces.append(space)

    def _best(
        self, asking: _Asking, at: slice, threshold: NDArray[np.int16], space: _Space
    ) -> tuple[Candidates, NDArray[np.bool_]]:
        """From what was listed of some rows to their candidates, and whether these are proven."""
        import torch

        columns, coarse, cut = self._chosen(asking, at, threshold[at], space)
        bound, offset = asking.bound[at], asking.offset[at]
        there = columns >= 0
        names = self.references.columns[np.where(there, columns, 0)]
        fine = self._again(torch.from_numpy(asking.unit[at]), names)
        # the bound is checked where both scores are known: a machine that rounds otherwise proves nothing
        off = np.abs(fine - offset[:, None] - floats(coarse)) - half_unit(coarse)
        observed = np.where(there, off, -np.inf).max(axis=1)
        scores = np.where(there, fine, np.float32(-np.inf))
        order = np.argsort(-scores, axis=1)[:, : self.width]  # equal ones are put in order later
        scores = np.take_along_axis(scores, order, axis=1)
        last = scores[:, -1].astype(np.float64) - offset
        proven = (last > floats(cut) + half_unit(cut) + bound) & (observed <= bound)
        names = np.where(scores > -np.inf, np.take_along_axis(names, order, axis=1), -1)
        return Candidates(names, scores), proven

    def _threshold(
        self, rows: NDArray[np.int64], asking: _Asking, skipped: tuple[int, int], space: _Space
    ) -> NDArray[np.int16]:
        """What all that may be needed of a row are expected to beat, bits of at least zero, from a sample.

        Four standard deviations above the expected rank of the last wanted one, and the margin below its score: too
        high a threshold leaves a row unproven, nothing worse.
        """
        import torch

        n_rows, sample = len(rows), self.references.sample
        tile = space.tile[: n_rows * len(sample)].view(n_rows, len(sample))
        torch.mm(asking.codes, self.references.sample_codes.T, out=tile)
        scores = tile.view(torch.int16).numpy()
        scores[self.of_sample.pairs(rows, 0, len(sample))] = LEAST
        n_lost = int(np.subtract(*np.searchsorted(sample, skipped[::-1])))
        n = len(self.references.columns) - (skipped[1] - skipped[0])
        expected = self.width * (len(sample) - n_lost) / n
        rank = int(np.ceil(expected + 4 * np.sqrt(expected) + 1))
        if rank >= len(sample) - n_lost:
            return np.zeros(n_rows, dtype=np.int16)
        scores.partition(len(sample) - rank, axis=1)
        last = np.maximum(scores[:, len(sample) - rank], 0)
        return bits_below(floats(last) - asking.margin(last))

    def _list(
        self,
        rows: NDArray[np.int64],
        asking: _Asking,
        skipped: tuple[int, int],
        threshold: NDArray[np.int16],
        space: _Space,
    ) -> None:
        """List all columns whose coarse score beats the row's threshold, ascending; raise those of too long lists."""
        import torch

        n_rows, filled = len(rows), space.filled[: len(rows)]
        filled[:] = 0
        for low, high in _tiles(len(self.references.columns), skipped):
            size = high - low
            tile = space.tile[: n_rows * size].view(n_rows, size)
            torch.mm(asking.codes, self.references.coded.codes[low:high].T, out=tile)
            # the bits of bfloat16 numbers above zero are ordered as they are; those below are below every threshold
            bits = tile.view(torch.int16).numpy()
            bits[self.exclusions.pairs(rows, low, high)] = LEAST
            above = space.above[: n_rows * size].reshape(n_rows, size)
            flat = true_places(np.greater(bits, threshold[:, None], out=above))
            row = flat // size
            counts = np.bincount(row, minlength=n_rows)
            over = filled + counts > _LISTED
            if over.any():  # hardly anything is farther than what is wanted: not proven
                threshold[over], filled[over], counts[over] = _NONE, 0, 0
                kept = ~over[row]
                flat, row = flat[kept], row[kept]
            most = int((filled + counts).max())
            if most > space.scores.shape[1]:
                space.widen(most + BLOCK)
            place = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts - filled, counts)
            space.scores[row, place] = bits.reshape(-1)[flat]
            space.columns[row, place] = flat - row * size + low
            filled += counts

    def _chosen(
        self, asking: _Asking, at: slice, threshold: NDArray[np.int16], space: _Space
    ) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int16]]:
        """Those listed that may be among the best, as many of each row as the row needs that needs most.

        Returns:
            Columns, ascending, -1 where there are fewer, and their scores, as bits; the best of the rest (n_rows,).
        """
        filled = space.filled[at]
        used = max(int(filled.max()), self.width)
        if used > space.scores.shape[1]:
            space.widen(used)
        # a score and its place in the list as one number: sorted together, and much faster than by argument
        places = np.arange(used, dtype=np.int32)
        keys = (space.scores[at, :used].astype(np.int32) << 16) | places
        keys[places >= filled[:, None]] = -1
        keys.partition(used - self.width, axis=1)
        last = np.maximum(keys[:, used - self.width] >> 16, 0).astype(np.int16)
        needed = (keys >> 16 >= bits_below(floats(last) - asking.margin(last, at))[:, None]).sum(axis=1)
        wanted = max(self.width, min(int(needed.max()), self.width + _SPARE, used))
        cut = threshold
        if wanted < used:
            keys.partition(used - wanted, axis=1)
            cut = np.maximum(cut, keys[:, : used - wanted].max(axis=1) >> 16).astype(np.int16)
        kept = keys[:, used - wanted :]
        kept = np.where(kept < 0, kept, kept & 0xFFFF)
        kept.sort(axis=1)  # in the order of the columns, for the caches
        there = np.maximum(kept, 0)
        columns = np.take_along_axis(space.columns[at], there, axis=1)
        scores = np.take_along_axis(space.scores[at], there, axis=1)
        columns[kept < 0], scores[kept < 0] = -1, 0
        return columns, scores, cut

    def _again(self, queries: Any, names: NDArray[np.int64]) -> NDArray[np.float32]:
        """Float32 similarities of each query and the references named in its row, (n_rows, n_names)."""
        import torch

        searched = self.references.searched
        n_rows, n_names = names.shape
        wanted = torch.sparse_csr_tensor(
            torch.arange(0, n_rows * n_names + 1, n_names),
            torch.from_numpy(np.ascontiguousarray(searched.names(names.reshape(-1)))),
            torch.zeros(n_rows * n_names),
            size=(n_rows, len(searched.vectors)),
            check_invariants=False,
        )
        found = torch.sparse.sampled_addmm(wanted, queries, self.references.tensor.T, beta=0.0)
        return (found.values().numpy().reshape(names.shape) / searched.lengths[names]).astype(np.float32)


def _tiles(n: int, skipped: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Columns [low, high) of each tile, leaving out what is skipped."""
    for start, stop in ((0, skipped[0]), (skipped[1], n)):
        for low in range(start, stop, _TILE):
            yield low, min(low + _TILE, stop)
