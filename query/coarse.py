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

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from locatlas.query.coarse_block import BLOCK, References, Search
from locatlas.query.exclude import ExclusionIndex
from locatlas.query.threads import in_threads
from locatlas.query.tiles import Candidates
from locatlas.query.unit import Prepared

__all__ = ["References", "Settle", "pays", "search_coarse"]

_WORK_FROM = 2e11  # additions and multiplications in float32 that take longer than importing torch


Settle = Callable[[NDArray[np.int64], Candidates], None]
"""Takes places of proven queries and their candidates; called from several threads, each place once."""


def pays(n_queries: int, n_references: int, dim: int, width: int) -> bool:
    """Whether the machine multiplies bfloat16 itself and the search is long enough for it."""
    if 2.0 * n_queries * n_references * dim < _WORK_FROM or 8 * (width + 64) > n_references:
        return False
    from locatlas.models.hardware import native_cpu_bf16

    return native_cpu_bf16()


def search_coarse(
    asked: Prepared,
    references: References,
    exclusions: tuple[ExclusionIndex, ExclusionIndex],
    settle: Settle,
    *,
    width: int,
    sorted_by: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Find the `width` best references of each query, and prove it.

    Args:
        asked: The queries, all of norm > 0. Fast where alike ones stand together.
        references: What is searched.
        exclusions: Built for the queries and the searched ones in that order, and for those of the sample.
        settle: Is given what was proven, by places among the queries, block by block.
        width: Candidates per query.
        sorted_by: Codes of the queries, sorted: they never meet searched ones of equal codes >= 0 (which are among the
            exclusions, too), and where all queries of a block have one code its columns are skipped.

    Returns:
        Places among the queries that are not proven, ascending. Where most are not, the rest is not even tried.
    """
    search = Search(asked, references, *exclusions, width)
    n_queries, mine = len(asked), references.sorted_by
    bounds, skipped = _blocks(n_queries, None if sorted_by is None or mine is None else (sorted_by, mine))
    proven = np.zeros(n_queries, dtype=np.bool_)
    n_tried = 0

    def block(number: int) -> None:
        nonlocal n_tried
        low, high = bounds[number]
        if n_tried >= 2 * BLOCK and 2 * int(proven.sum()) < n_tried:
            return
        for rows, found, fine in search.block(np.arange(low, high), skipped[number]):
            places = np.flatnonzero(fine)
            settle(rows[places], Candidates(found.indices[places], found.similarities[places]))
            proven[rows] = fine
        n_tried += high - low

    in_threads(block, range(len(bounds)), torch_too=True)
    return np.flatnonzero(~proven)


def _blocks(
    n_queries: int, sorted_by: tuple[NDArray[np.int64], NDArray[np.int64]] | None
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Rows of each block, and the columns that none of them may meet, [low, high)."""
    cuts = np.arange(0, n_queries, BLOCK)
    if sorted_by is not None:
        changes = np.flatnonzero(np.diff(sorted_by[0])) + 1
        if len(changes) * BLOCK < n_queries:  # folds, not proteins
            cuts = np.union1d(cuts, changes)
    bounds = list(zip(cuts.tolist(), [*cuts[1:].tolist(), n_queries], strict=True))
    skipped = []
    for low, high in bounds:
        range_ = (0, 0)
        if sorted_by is not None and sorted_by[0][low] == sorted_by[0][high - 1] >= 0:
            left, right = (int(np.searchsorted(sorted_by[1], sorted_by[0][low], side=s)) for s in ("left", "right"))
            range_ = (left, right) if right - left >= BLOCK else (0, 0)
        skipped.append(range_)
    return bounds, skipped
