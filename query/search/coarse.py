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

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from locatlas.query.search.coarse_block import BLOCK, References, Search
from locatlas.query.search.exclude import ExclusionIndex
from locatlas.query.search.threads import in_threads, n_cores
from locatlas.query.search.tiles import Candidates
from locatlas.query.search.unit import Prepared

__all__ = ["References", "Settle", "pays", "search_coarse"]

_BUNDLE = 8192  # queries that a thread holds at once at most, for which each tile of references is coded
_BUNDLE_SHARE = (
    0.08  # of the references' memory for the lists of these in all threads, if that is not less than a block
)
_WORK_FROM = 2e11  # additions and multiplications in float32 that take longer than importing torch


Settle = Callable[[NDArray[np.int64], Candidates, NDArray[np.bool_]], None]
"""Takes places of queries, their candidates, and which of them are proven; from several threads, each place once."""


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
        settle: Is given what was found, some hundred queries at a time.
        width: Candidates per query.
        sorted_by: Codes of the queries: they never meet searched ones of equal codes >= 0 (which are among the
            exclusions, too), and where queries of one code stand together its columns are skipped.

    Returns:
        Places among the queries that were not tried, ascending: where most are not proven, the rest is not.
    """
    search = Search(asked, references, *exclusions, width)
    mine = references.sorted_by
    room = _BUNDLE_SHARE * 4 * references.searched.dim * len(references.columns) / (n_cores() * search.listed_bytes)
    # no core waits long for the last ones
    size = -(-len(asked) // (16 * n_cores()))
    size = int(np.clip(size, BLOCK, np.clip(room, BLOCK, _BUNDLE)))
    bounds, skipped = _bundles(len(asked), size, None if sorted_by is None or mine is None else (sorted_by, mine))
    tried = np.zeros(len(asked), dtype=np.bool_)
    n_tried = n_proven = 0

    def bundle(number: int) -> None:
        nonlocal n_tried, n_proven
        if _hopeless(n_tried, n_proven):
            return
        for rows, found, fine in search.rows(np.arange(*bounds[number]), skipped[number]):
            settle(rows, found, fine)
            tried[rows] = True
            n_tried += len(rows)
            n_proven += int(fine.sum())
            if _hopeless(n_tried, n_proven):
                break

    in_threads(bundle, range(len(bounds)), torch_too=True)
    return np.flatnonzero(~tried)


def _hopeless(n_tried: int, n_proven: int) -> bool:
    return n_tried >= 2 * BLOCK and 2 * n_proven < n_tried


def _bundles(
    n_queries: int, size: int, sorted_by: tuple[NDArray[np.int64], NDArray[np.int64]] | None
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Queries of each bundle, and the columns that none of them may meet, [low, high)."""
    cuts = np.array([0, n_queries])
    if sorted_by is not None:
        changes = np.flatnonzero(np.diff(sorted_by[0])) + 1
        if len(changes) * BLOCK < n_queries:  # folds, not proteins
            cuts = np.union1d(cuts, changes)
    bounds = []
    for low, high in itertools.pairwise(cuts.tolist()):
        n_blocks = -(-(high - low) // BLOCK)  # whole blocks, but for the last one
        n_here = -(-(high - low) // size)
        inner = [min(low + BLOCK * (number * n_blocks // n_here), high) for number in range(n_here)]
        bounds += list(itertools.pairwise([*inner, high]))
    skipped = []
    for low, high in bounds:
        range_ = (0, 0)
        if sorted_by is not None and sorted_by[0][low] >= 0 and (sorted_by[0][low:high] == sorted_by[0][low]).all():
            left, right = (int(np.searchsorted(sorted_by[1], sorted_by[0][low], side=s)) for s in ("left", "right"))
            range_ = (left, right) if right - left >= BLOCK else (0, 0)
        skipped.append(range_)
    return bounds, skipped
