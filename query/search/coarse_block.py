"""Some queries against all references in bfloat16: listed, scored again, proven. Pure; needs torch.

What is listed of a row is all that beats a threshold, which a sample of the references gives. What is scored again is
all that the bound on the errors of its vectors does not rule out, as far as can be told before: the gap in score from
the last wanted one to the best that is left behind is to be as large as the bound and what errors are observed to be.

A thread holds the lists of a few blocks of queries at once, since each tile of references is coded anew for them
(`bfloat16`), and hands on a small group of queries after the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.query.search.bfloat16 import LEAST, Coded, Room, bits_below, code, floats, half_unit, true_places
from locatlas.query.search.coarse_lists import LISTED_BYTES, Lists, most_listed
from locatlas.query.search.exclude import ExclusionIndex
from locatlas.query.search.tiles import Candidates
from locatlas.query.search.unit import Prepared

__all__ = ["BLOCK", "References", "Search"]

BLOCK = 1024  # queries and
_TILE = 2048  # references of one tile: 4 MiB of bfloat16 scores
_SAMPLE = (1024, 4096)  # references that tell how near the best are: an eighth, within these
_AFTER = 128  # queries whose best are scored again together: what that takes stays in a core's own cache
_SPARE = 256  # at most kept beyond the wanted; rows that need more, for many are as near, are not proven
_PADDED = 128  # multiples of which are multiplied: torch keeps some memory for each shape of a product
_OBSERVED = 0.25  # share of the bound that errors are expected to reach; they reach an eighth


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """What is searched, laid out once for all queries.

    Attributes:
        searched: Vectors.
        columns: Which of them are searched, int64 (n,), all of norms within 1e-15 and 1e15.
        sorted_by: Codes of the searched, sorted; None if they are not sorted.
        coded: The searched ones in bfloat16.
        sample: Places of some of the searched ones, ascending.
        sample_codes: Theirs.
    """

    searched: Prepared
    columns: NDArray[np.int64]
    sorted_by: NDArray[np.int64] | None
    coded: Coded
    sample: NDArray[np.int64]
    sample_codes: Any

    @classmethod
    def of(cls, searched: Prepared, columns: NDArray[np.int64], sorted_by: NDArray[np.int64] | None) -> Self:
        """Code what is searched."""
        n, coded = len(columns), code(searched, columns)
        n_sample = min(n, max(_SAMPLE[0], min(_SAMPLE[1], n // 8)))
        sample = np.sort(np.random.default_rng(0).choice(n, n_sample, replace=False))
        return cls(searched, columns, sorted_by, coded, sample, coded.take(sample))


class _Space:
    """Arrays that a thread uses again and again: fresh memory is slow, and freed memory is not always given back."""

    def __init__(self, references: References) -> None:
        import torch

        rows = -(-BLOCK // _PADDED) * _PADDED
        self.tile = torch.empty(max(rows * _TILE, len(references.sample)), dtype=torch.bfloat16)
        self.above = np.empty(BLOCK * _TILE, dtype=np.bool_)
        self.room = Room(0 if references.coded.kept is not None else _TILE, references.searched.dim)
        self.lists: list[Lists] = []


@dataclass(frozen=True, slots=True, eq=False)
class _Asking:
    """Queries of a block.

    Attributes:
        rows: Which these are.
        codes: Unit vectors in bfloat16, torch (n or some more, d).
        bound: What a coarse score may be off, but for its own rounding, (n,).
        offset: Products with the mean that was taken out of the references, (n,).
    """

    rows: NDArray[np.int64]
    codes: Any
    bound: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, asked: Prepared, rows: NDArray[np.int64], coded: Coded) -> Self:
        import torch

        codes = torch.zeros((-(-len(rows) // _PADDED) * _PADDED, asked.dim), dtype=torch.bfloat16)
        bound, offset = np.empty(len(rows)), np.empty(len(rows))
        for low in range(0, len(rows), _AFTER):
            at = slice(low, low + _AFTER)
            unit = asked.unit(rows[at])
            coded_here = codes[low : low + len(unit)]
            coded_here.copy_(torch.from_numpy(unit))
            wide, narrow = unit.astype(np.float64), coded_here.double().numpy()
            offset[at] = np.einsum("nd,d->n", wide, coded.mean)  # a BLAS library would keep memory for each thread
            norm = np.sqrt(np.einsum("nd,nd->n", narrow, narrow))
            wide -= narrow
            lost = np.sqrt(np.einsum("nd,nd->n", wide, wide))
            # of sums, also of those in float32, and of the operations before a reference is coded
            sums = 2.0**-23 * (asked.dim + 4) * (norm * (coded.norm + coded.error) + 1)
            bound[at] = norm * coded.error + lost * coded.norm + sums
        return cls(rows, codes, bound, offset)

    def margin(self, bits: NDArray[np.int16], rows: slice = slice(None)) -> NDArray[np.float64]:
        """How far below these scores of the last wanted ones the best that is left behind should be."""
        return (1 + _OBSERVED) * self.bound[rows] + 2 * half_unit(bits)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What all queries need."""

    asked: Prepared
    references: References
    exclusions: ExclusionIndex
    of_sample: ExclusionIndex
    width: int
    spaces: list[_Space] = field(default_factory=list)

    @property
    def listed_bytes(self) -> int:
        """Of the list of a row, about, when all tiles are done; some more where many are as near as the last."""
        n, n_sample = len(self.references.columns), len(self.references.sample)
        return LISTED_BYTES * min(_rank(self.width, n_sample, n) * n // n_sample, most_listed(self.width + _SPARE))

    def rows(
        self, rows: NDArray[np.int64], skipped: tuple[int, int]
    ) -> Iterator[tuple[NDArray[np.int64], Candidates, NDArray[np.bool_]]]:
        """Some of the queries, their candidates, and whether those of each are proven; after each other all."""
        try:
            space = self.spaces.pop()
        except IndexError:  # all are in use by other threads
            space = _Space(self.references)
        try:
            yield from self._in(space, rows, skipped)
        finally:
            self.spaces.append(space)

    def _in(
        self, space: _Space, rows: NDArray[np.int64], skipped: tuple[int, int]
    ) -> Iterator[tuple[NDArray[np.int64], Candidates, NDArray[np.bool_]]]:
        coded = self.references.coded
        blocks = [_Asking.of(self.asked, rows[low : low + BLOCK], coded) for low in range(0, len(rows), BLOCK)]
        while len(space.lists) < len(blocks):
            space.lists.append(Lists(BLOCK, self.width + _SPARE, _TILE))
        for asking, lists in zip(blocks, space.lists, strict=False):
            lists.begin(self._threshold(asking, skipped, space))
        for tile, (low, high) in _tiles(len(coded), skipped):
            codes = coded.tile(*tile, space.room)
            for asking, lists in zip(blocks, space.lists, strict=False):
                bits = self._multiplied(asking.codes, codes, space)[: len(asking.rows)]
                if (low, high) != tile:
                    bits = np.ascontiguousarray(bits[:, low - tile[0] : high - tile[0]])
                self._list(asking, lists, bits, low, space)
        for asking, lists in zip(blocks, space.lists, strict=False):
            for start in range(0, len(asking.rows), _AFTER):
                at = slice(start, min(start + _AFTER, len(asking.rows)))
                yield asking.rows[at], *self._best(asking, at, lists)

    def _best(self, asking: _Asking, at: slice, lists: Lists) -> tuple[Candidates, NDArray[np.bool_]]:
        """From what was listed of some rows to their candidates, and whether these are proven."""
        import torch

        columns, coarse, cut = self._chosen(asking, at, lists)
        bound, offset = asking.bound[at], asking.offset[at]
        there = columns >= 0
        names = self.references.columns[np.where(there, columns, 0)]
        fine = self._again(torch.from_numpy(self.asked.unit(asking.rows[at])), names)
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

    def _threshold(self, asking: _Asking, skipped: tuple[int, int], space: _Space) -> NDArray[np.int16]:
        """What all that may be needed of a row are expected to beat, bits of at least zero, from a sample.

        The margin below the score of some rank in it: too high a threshold leaves a row unproven, nothing worse.
        """
        n_rows, n_sample = len(asking.rows), len(self.references.sample)
        lost = np.searchsorted(self.references.sample, skipped).tolist()
        n_lost = lost[1] - lost[0]
        n = len(self.references.columns) - (skipped[1] - skipped[0])
        rank = _rank(self.width, n_sample - n_lost, n)
        last = np.zeros(n_rows, dtype=np.int16)
        if rank >= n_sample - n_lost:
            return last
        step = min(_PADDED, max(1, len(space.tile) // n_sample))
        for low in range(0, n_rows, step):
            at = slice(low, min(low + step, n_rows))
            codes = asking.codes[low : low + step]
            scores = self._multiplied(codes, self.references.sample_codes, space)[: at.stop - low]
            scores[:, lost[0] : lost[1]] = LEAST
            for part in ((0, lost[0]), (lost[1], n_sample)):
                scores[:, slice(*part)][self.of_sample.pairs(asking.rows[at], *part)] = LEAST
            scores.partition(n_sample - rank, axis=1)
            last[at] = scores[:, n_sample - rank]
        np.maximum(last, 0, out=last)
        return bits_below(floats(last) - asking.margin(last))

    @staticmethod
    def _multiplied(queries: Any, codes: Any, space: _Space) -> NDArray[np.int16]:
        """Products of codes, as bits.

        Those of bfloat16 numbers above zero are ordered as they are; those below are below every threshold.
        """
        import torch

        n_rows, n_columns = len(queries), len(codes)
        tile = space.tile[: n_rows * n_columns].view(n_rows, n_columns)
        torch.mm(queries, codes.T, out=tile)
        return tile.view(torch.int16).numpy()

    def _list(self, asking: _Asking, lists: Lists, bits: NDArray[np.int16], low: int, space: _Space) -> None:
        """List all columns, from `low` on, whose coarse score beats the row's threshold."""
        bits[self.exclusions.pairs(asking.rows, low, low + bits.shape[1])] = LEAST
        above = space.above[: bits.size].reshape(bits.shape)
        lists.add(bits, true_places(np.greater(bits, lists.threshold[:, None], out=above)), low)

    def _chosen(
        self, asking: _Asking, at: slice, lists: Lists
    ) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int16]]:
        """Those listed that may be among the best, as many of each row as the row needs that needs most.

        Returns:
            Columns, ascending, -1 where there are fewer, and their scores, as bits; the best of the rest (n_rows,).
        """
        listed, keys, _ = lists.rows(at.start, at.stop)
        used = listed.shape[1]
        if used < self.width:
            none = ((0, 0), (0, self.width - used))
            listed, keys, used = np.pad(listed, none), np.pad(keys, none, constant_values=-1), self.width
        # a score and its place in the list are one number: sorted together, and much faster than by argument
        keys.partition(used - self.width, axis=1)
        last = np.maximum(keys[:, used - self.width] >> 16, 0).astype(np.int16)
        needed = (keys >> 16 >= bits_below(floats(last) - asking.margin(last, at))[:, None]).sum(axis=1)
        wanted = max(self.width, min(int(needed.max()), self.width + _SPARE, used))
        cut = lists.threshold[at]
        if wanted < used:
            keys.partition(used - wanted, axis=1)
            cut = np.maximum(cut, keys[:, : used - wanted].max(axis=1) >> 16).astype(np.int16)
        kept = keys[:, used - wanted :]
        # place above score, to be in the order of the columns, for the caches
        kept = np.where(kept < 0, kept, (kept & 0xFFFF) << 16 | kept >> 16)
        kept.sort(axis=1)
        scores = np.where(kept < 0, 0, kept & 0xFFFF).astype(np.int16)
        columns = np.where(kept < 0, -1, np.take_along_axis(listed, np.maximum(kept >> 16, 0), axis=1))
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
        found = torch.sparse.sampled_addmm(wanted, queries, self.references.coded.vectors.T, beta=0.0)
        return (found.values().numpy().reshape(names.shape) / searched.lengths[names]).astype(np.float32)


def _rank(width: int, n_sample: int, n: int) -> int:
    """Rank in a sample of the n: four standard deviations above that expected of the last wanted one."""
    expected = width * n_sample / n
    return int(np.ceil(expected + 4 * np.sqrt(expected) + 1))


def _tiles(n: int, skipped: tuple[int, int]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Columns [low, high) of each tile, of few sizes, and those of it that are wanted: not what is skipped."""
    step = min(_TILE, BLOCK)
    for start, stop in ((0, skipped[0]), (skipped[1], n)):
        end = min(-(-stop // step) * step, n)
        for low in range(start // step * step, end, _TILE):
            high = min(low + _TILE, end)
            if max(low, start) < min(high, stop):
                yield (low, high), (max(low, start), min(high, stop))
