"""Nearest references by narrow (bfloat16) products that are proven to have missed none, on the CPU. Pure; needs torch.

Processors with bfloat16 products multiply them several times as fast as float32. So every score is first taken in
bfloat16, the best of a row are scored again in float32, and a bound on the error of the first scores decides row by row
whether anything left behind could belong among them. A row that this does not prove is the caller's to search again.

With x = mean + x' the order of q.x over x is that of q.x', whose vectors are shorter and therefore coded more exactly.
Let q^ and x^ be the codes of q and x', and e their errors. By Cauchy and Schwarz

    |q.x' - q^.x^|  <=  |q^| |e_x| + |e_q| |x'|

to which rounding of the sums (d 2^-24 |q^| |x^|) and of the result (half a unit of bfloat16) are added. All norms
are measured, none is assumed, and wherever both scores of a pair are known, the bound is checked.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.query.bfloat16 import LEAST, Coded, code, floats, half_unit, true_places
from locatlas.query.exclude import ExclusionIndex
from locatlas.query.threads import in_threads
from locatlas.query.tiles import Candidates
from locatlas.query.unit import Prepared

__all__ = ["References", "Settle", "pays", "search_coarse"]

_BLOCK = 512  # queries and
_TILE = 4096  # references of one tile: 4 MiB of bfloat16 scores
_SAMPLE = 4096  # references that tell how near the best are
_SPARE = 64  # kept beyond the wanted, so that their worst is below the wanted's worst by more than the error
_WORK_FROM = 2e11  # additions and multiplications in float32 that take longer than importing torch


Settle = Callable[[NDArray[np.int64], Candidates], None]
"""Takes places of proven queries and their candidates; called from several threads, each place once."""


def pays(n_queries: int, n_references: int, dim: int, width: int) -> bool:
    """Whether the machine multiplies bfloat16 itself and the search is long enough for it."""
    if 2.0 * n_queries * n_references * dim < _WORK_FROM or 8 * (width + _SPARE) > n_references:
        return False
    from locatlas.models.hardware import native_cpu_bf16

    return native_cpu_bf16()


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
    """

    searched: Prepared
    columns: NDArray[np.int64]
    sorted_by: NDArray[np.int64] | None
    tensor: Any
    coded: Coded

    @classmethod
    def of(cls, searched: Prepared, columns: NDArray[np.int64], sorted_by: NDArray[np.int64] | None) -> Self:
        """Code what is searched."""
        return cls(searched, columns, sorted_by, _quiet_tensor(searched.vectors), code(searched, columns))


def search_coarse(
    asked: Prepared,
    references: References,
    exclusions: ExclusionIndex,
    settle: Settle,
    *,
    width: int,
    sorted_by: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Find the `width` best references of each query, and prove it.

    Args:
        asked: The queries, all of norm > 0. Fast where alike ones stand together.
        references: What is searched.
        exclusions: Built for the queries and the searched ones in that order.
        settle: Is given what was proven, by places among the queries, block by block.
        width: Candidates per query.
        sorted_by: Codes of the queries, sorted: they never meet searched ones of equal codes >= 0 (which are among the
            exclusions, too), and where all queries of a block have one code its columns are skipped.

    Returns:
        Places among the queries that are not proven, ascending. Where most are not, the rest is not even tried.
    """
    search = _Search(asked, references, exclusions, width)
    n_queries, mine = len(asked), references.sorted_by
    bounds, skipped = _blocks(n_queries, None if sorted_by is None or mine is None else (sorted_by, mine))
    proven = np.zeros(n_queries, dtype=np.bool_)
    n_tried = 0

    def block(number: int) -> None:
        nonlocal n_tried
        low, high = bounds[number]
        if n_tried >= 2 * _BLOCK and 2 * int(proven.sum()) < n_tried:
            return
        found, fine = search.block(np.arange(low, high), skipped[number])
        places = np.flatnonzero(fine)
        settle(low + places, Candidates(found.indices[places], found.similarities[places]))
        proven[low:high] = fine
        n_tried += high - low

    in_threads(block, range(len(bounds)), torch_too=True)
    return np.flatnonzero(~proven)


def _blocks(
    n_queries: int, sorted_by: tuple[NDArray[np.int64], NDArray[np.int64]] | None
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Rows of each block, and the columns that none of them may meet, [low, high)."""
    cuts = np.arange(0, n_queries, _BLOCK)
    if sorted_by is not None:
        changes = np.flatnonzero(np.diff(sorted_by[0])) + 1
        if len(changes) * _BLOCK < n_queries:  # folds, not proteins
            cuts = np.union1d(cuts, changes)
    bounds = list(zip(cuts.tolist(), [*cuts[1:].tolist(), n_queries], strict=True))
    skipped = []
    for low, high in bounds:
        range_ = (0, 0)
        if sorted_by is not None and sorted_by[0][low] == sorted_by[0][high - 1] >= 0:
            left, right = (int(np.searchsorted(sorted_by[1], sorted_by[0][low], side=s)) for s in ("left", "right"))
            range_ = (left, right) if right - left >= _BLOCK else (0, 0)
        skipped.append(range_)
    return bounds, skipped


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


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """What every block needs."""

    asked: Prepared
    references: References
    exclusions: ExclusionIndex
    width: int

    @property
    def coded(self) -> Coded:
        return self.references.coded

    @property
    def columns(self) -> NDArray[np.int64]:
        return self.references.columns

    def block(self, rows: NDArray[np.int64], skipped: tuple[int, int]) -> tuple[Candidates, NDArray[np.bool_]]:
        """Candidates of some queries, and whether those of each are proven."""
        import torch

        unit = self.asked.unit(rows)
        queries = torch.from_numpy(unit)
        codes = queries.bfloat16()
        survivors, cut = self._survivors(rows, codes, skipped)
        columns, coarse = survivors
        there = columns >= 0
        names = self.columns[np.where(there, columns, 0)]
        fine = self._again(queries, names)
        scores = np.where(there, fine, np.float32(-np.inf))
        # the bound, from norms of these queries
        wide = unit.astype(np.float64)
        coded = codes.double().numpy()
        query_norm, query_error = (np.sqrt(np.einsum("nd,nd->n", v, v)) for v in (coded, wide - coded))
        bound = query_norm * self.coded.error + query_error * self.coded.norm
        bound += 2.0**-23 * wide.shape[1] * (query_norm * (self.coded.norm + self.coded.error) + 1)  # and of `fine`
        offset = wide @ self.coded.mean
        # the bound is checked where both scores are known: a machine that rounds otherwise proves nothing
        exact = fine - offset[:, None]
        observed = np.where(there, np.abs(exact - floats(coarse)) - half_unit(coarse), -np.inf)
        order = np.argsort(-scores, axis=1)[:, : self.width]  # equal ones are put in order later
        scores = np.take_along_axis(scores, order, axis=1)
        last = scores[:, -1].astype(np.float64) - offset
        proven = (last > floats(cut) + half_unit(cut) + bound) & (observed.max(axis=1) <= bound)
        there = np.take_along_axis(there, order, axis=1)
        return Candidates(np.where(there, np.take_along_axis(names, order, axis=1), -1), scores), proven

    def _survivors(
        self, rows: NDArray[np.int64], codes: Any, skipped: tuple[int, int]
    ) -> tuple[tuple[NDArray[np.int64], NDArray[np.int16]], NDArray[np.int16]]:
        """The best coarse scores of each row, and the best that is not among them, scores as the bits of bfloat16.

        Returns:
            Columns (n_rows, width + spare), -1 where there are fewer, and their scores; the best of the rest (n_rows,).
        """
        import torch

        n_rows, wanted = len(rows), self.width + _SPARE
        threshold = self._threshold(rows, codes, skipped)
        out = torch.empty(n_rows * _TILE, dtype=torch.bfloat16)
        room = 2 * wanted + _BLOCK
        scores = np.full((n_rows, room), LEAST, dtype=np.int16)
        columns = np.full((n_rows, room), -1, dtype=np.int64)
        filled = np.zeros(n_rows, dtype=np.int64)
        for low, high in _tiles(len(self.columns), skipped):
            size = high - low
            tile = out[: n_rows * size].view(n_rows, size)
            torch.mm(codes, self.coded.codes[low:high].T, out=tile)
            # the bits of bfloat16 numbers above zero are ordered as they are; those below are below every threshold
            bits = tile.view(torch.int16).numpy()
            bits[self.exclusions.pairs(rows, low, high)] = LEAST
            flat = true_places(bits > threshold[:, None])
            row = flat // size
            counts = np.bincount(row, minlength=n_rows)
            if int((filled + counts).max()) > room:
                more = np.full((n_rows, int((filled + counts).max()) + room), LEAST, dtype=np.int16)
                more[:, :room], scores = scores, more
                names = np.full(more.shape, -1, dtype=np.int64)
                names[:, :room], columns = columns, names
                room = more.shape[1]
            place = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts - filled, counts)
            scores[row, place] = bits.reshape(-1)[flat]
            columns[row, place] = flat - row * size + low
            filled += counts
        used = max(int(filled.max()), wanted)
        scores, columns, room = scores[:, :used], columns[:, :used], used
        cut = threshold
        if room > wanted:
            kept = np.argpartition(scores, room - wanted, axis=1)
            cut = np.maximum(cut, np.take_along_axis(scores, kept[:, : room - wanted], axis=1).max(axis=1))
            kept = np.sort(kept[:, room - wanted :], axis=1)  # in the order of the columns, for the caches
            scores, columns = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(columns, kept, axis=1)
        return (columns, scores), cut

    def _threshold(self, rows: NDArray[np.int64], codes: Any, skipped: tuple[int, int]) -> NDArray[np.int16]:
        """What the wanted ones of a row are expected to beat, at least zero, from a sample of the columns.

        Two standard deviations above the expected rank: too high a threshold leaves a row unproven, nothing worse.
        """
        import torch

        n, n_skipped = len(self.columns), skipped[1] - skipped[0]
        n_sample = min(n - n_skipped, _SAMPLE)
        sample = np.sort(np.random.default_rng(0).choice(n - n_skipped, n_sample, replace=False))
        sample += n_skipped * (sample >= skipped[0])
        scores = torch.mm(codes, self.coded.codes[torch.from_numpy(sample)].T).view(torch.int16).numpy()
        for low, high in _tiles(n, skipped):
            row, column = self.exclusions.pairs(rows, low, high)
            at = np.searchsorted(sample, column + low)
            met = at < n_sample
            met[met] = sample[at[met]] == column[met] + low
            scores[row[met], at[met]] = LEAST
        expected = (self.width + _SPARE) * n_sample / (n - n_skipped)
        rank = int(np.ceil(expected + 2 * np.sqrt(expected) + 1))
        if rank >= n_sample:
            return np.zeros(len(rows), dtype=np.int16)
        return np.maximum(np.partition(scores, n_sample - rank, axis=1)[:, n_sample - rank], 0)

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
