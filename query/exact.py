"""Exact nearest neighbors by cosine similarity, with exclusions struck out before they are ranked. Pure.

Products of narrow numbers (`coarse`, where they pay and prove what they found), those in float32 of `wide` or `join`,
on the CPU or a GPU, find candidates; `refine` settles every near tie in float64: the result is the float64 brute
force ranking, by (similarity, row), whatever found it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query import coarse
from locatlas.query.exclude import Exclusion, ExclusionIndex
from locatlas.query.refine import EXTRA_CANDIDATES, refine
from locatlas.query.tiles import FEW, IN_RANGE, Candidates
from locatlas.query.unit import Prepared, normalize, prepare
from locatlas.query.wide import Wide
from locatlas.types import Neighbors

__all__ = ["Prepared", "Tally", "narrow_pays", "normalize", "prepare", "search", "search_blocks"]

_FEW_TIMES = 8
"""Up to so many times `FEW` queries that narrow products left, no copy of the references is made for them."""


@dataclass(slots=True)
class Tally:
    """By which products the neighbors of queries were found; they are the same by each.

    Attributes:
        narrow: Queries whose neighbors were found by bfloat16 products, and proven.
        wide: Queries that were searched in float32: all others, those included that narrow products could not prove.
        unproven: How many of these.
    """

    narrow: int = 0
    wide: int = 0
    unproven: int = 0

    def as_dict(self) -> dict[str, int]:
        """For documents."""
        return {"bfloat16": self.narrow, "float32": self.wide, "of_them_unproven": self.unproven}


def search(
    queries: NDArray[Any] | Prepared,
    references: NDArray[Any] | Prepared,
    *,
    k: int,
    exclude: Sequence[Exclusion] = (),
    allowed: NDArray[np.bool_] | None = None,
    device: str = "cpu",
    tally: Tally | None = None,
) -> Neighbors:
    """The `k` nearest references of each query that it may meet.

    Args:
        queries: Shape (n_queries, d), not normalised; left as they are.
        references: Shape (n_references, d), not normalised; left as they are. `prepare` them to search them often.
        k: Neighbors per query, 1 <= k; may exceed the number of references.
        exclude: Pairs of integer codes, (n_queries,) and (n_references,): a query never meets a reference of its
            own code, -1 meets everything. Several pairs add up, e.g. own id and own FOV and own protein
            (`encode_names` makes them from names).
        allowed: References that may be found at all, bool (n_references,); None for all.
        device: "cpu", or a torch device for the products, e.g. "cuda". The result is the same.
        tally: Is told by which products the queries were answered.

    Returns:
        Nearest first by float64 cosine similarity; equal ones in the order of the references. Where fewer than `k`
        references remain the tail is missing (-1, NaN). A zero vector is degenerate: as a query it gets no
        neighbors, as a reference it is never found.

    Raises:
        InputError: If shapes do not fit, a vector holds NaN or infinity, or `k` < 1.
    """
    asked = prepare(queries, "queries")
    (found,) = search_blocks(
        asked,
        references,
        [np.arange(len(asked))],
        k=k,
        exclude=exclude,
        allowed=allowed,
        device=device,
        tally=tally,
    )
    return found


def search_blocks(
    queries: NDArray[Any] | Prepared,
    references: NDArray[Any] | Prepared,
    blocks: Sequence[NDArray[np.int64]],
    *,
    k: int,
    exclude: Sequence[Exclusion] = (),
    alike: Exclusion | None = None,
    allowed: NDArray[np.bool_] | None = None,
    device: str = "cpu",
    tally: Tally | None = None,
) -> Iterator[Neighbors]:
    """`search` for some of the queries after the others, so that the neighbors of no more need be held.

    Args:
        queries: As `search`.
        references: As `search`.
        blocks: Rows of the queries, thousands of them at a time, in the order in which they are answered.
        k: As `search`.
        exclude: As `search`.
        alike: Codes of queries and of references whose equals are probably near each other: the search is faster
            where such queries stand together. The result is the same.
        allowed: As `search`.
        device: As `search`.
        tally: As `search`.

    Yields:
        The neighbors of each block, in the order of its rows.

    Raises:
        InputError: As `search`.
    """
    asked, searched = prepare(queries, "queries"), prepare(references, "references")
    n_queries, n_references = len(asked), len(searched)
    if asked.dim != searched.dim:
        message = f"queries have {asked.dim} numbers a vector, references {searched.dim}"
        raise InputError(message)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        message = f"k = {k!r}: a whole number of at least 1 needed"
        raise InputError(message)
    if allowed is not None and (allowed.shape != (n_references,) or allowed.dtype != np.bool_):
        message = f"allowed has shape {allowed.shape} and dtype {allowed.dtype}: bool ({n_references},) needed"
        raise InputError(message)
    valid = searched.lengths > 0 if allowed is None else (searched.lengths > 0) & allowed
    everywhere = ExclusionIndex.build(exclude, n_queries=n_queries, n_references=n_references, columns=None)
    n_asking = sum(int(np.count_nonzero(asked.lengths[rows])) for rows in blocks)
    wide = Wide(asked, searched, valid, exclude, everywhere, device)
    narrow = None
    if device == "cpu" and n_asking and valid.any() and narrow_pays(n_asking, searched, int(k), valid):
        narrow = _Narrow.of(asked, searched, exclude, alike, valid)
    for rows in blocks:
        part = asked.take(rows)
        found = Neighbors(
            np.full((len(rows), k), -1, dtype=np.int64), np.full((len(rows), k), np.nan, dtype=np.float32)
        )
        asking = np.flatnonzero(part.lengths > 0) if valid.any() else np.empty(0, dtype=np.int64)
        steps: Iterable[NDArray[np.int64]] = [asking]
        if narrow is not None and len(asking):
            left = narrow.search(part, rows, asking, everywhere, found)
            if tally is not None:
                tally.narrow += len(asking) - len(left)
                tally.unproven += len(left)
            asking, steps = left, [left]
            if len(left) <= _FEW_TIMES * FEW:
                steps = [left[low : low + FEW] for low in range(0, len(left), FEW)]
        if tally is not None:
            tally.wide += len(asking)
        for some in steps:
            if len(some):
                wide.search(rows[some], some, found)
        yield found


def narrow_pays(n_queries: int, searched: Prepared, k: int, valid: NDArray[np.bool_] | None = None) -> bool:
    """Whether bfloat16 products are to find the candidates first."""
    lengths = searched.lengths if valid is None else searched.lengths[valid]
    lengths = lengths[lengths > 0]
    width = k + EXTRA_CANDIDATES
    return coarse.pays(n_queries, len(lengths), searched.dim, width) and bool(
        lengths.min() > IN_RANGE[0] and lengths.max() < IN_RANGE[1]
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Narrow:
    """References laid out for narrow products, and by which codes they and the queries are sorted.

    What may not meet stands together, so that it can be skipped, and so does what is alike, which shares the caches.
    """

    references: coarse.References
    valid: NDArray[np.bool_]
    exclusions: ExclusionIndex
    of_sample: ExclusionIndex
    sorted_by: list[NDArray[np.int64]]
    skips: bool

    @classmethod
    def of(
        cls,
        asked: Prepared,
        searched: Prepared,
        exclude: Sequence[Exclusion],
        alike: Exclusion | None,
        valid: NDArray[np.bool_],
    ) -> "_Narrow":
        by = [*exclude, *([] if alike is None else [alike])]
        columns = np.flatnonzero(valid)
        if by:
            columns = columns[np.lexsort([codes[columns] for _, codes in reversed(by)])]
        references = coarse.References.of(searched, columns, exclude[0][1][columns] if exclude else None)

        def built(some: NDArray[np.int64]) -> ExclusionIndex:
            return ExclusionIndex.build(exclude, n_queries=len(asked), n_references=len(searched), columns=some)

        return cls(
            references,
            valid,
            built(columns),
            built(columns[references.sample]),
            [codes for codes, _ in by],
            bool(exclude),
        )

    def search(
        self,
        asked: Prepared,
        rows: NDArray[np.int64],
        asking: NDArray[np.int64],
        everywhere: ExclusionIndex,
        found: Neighbors,
    ) -> NDArray[np.int64]:
        """Write the proven neighbors of the asking ones of a block into `found`; return those left, ascending."""
        if self.sorted_by:
            asking = asking[np.lexsort([codes[rows[asking]] for codes in reversed(self.sorted_by)])]
        searched, k = self.references.searched, found.k

        def settle(places: NDArray[np.int64], candidates: Candidates) -> None:
            some = asking[places]
            mine = everywhere.of(rows[some])
            ranked = refine(candidates, asked.take(some), searched, k=k, exclusions=mine, valid=self.valid)
            found.indices[some], found.similarities[some] = ranked.indices, ranked.similarities

        left = coarse.search_coarse(
            asked.take(asking),
            self.references,
            (self.exclusions.of(rows[asking]), self.of_sample.of(rows[asking])),
            settle,
            width=k + EXTRA_CANDIDATES,
            sorted_by=self.sorted_by[0][rows[asking]] if self.skips else None,
        )
        return np.sort(asking[left])
