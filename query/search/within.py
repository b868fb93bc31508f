"""Nearest neighbors within one set of vectors: all of them, or of some rows, handed on as they are found. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.search.exact import Take, Tally, check_k, narrow_pays, search, search_rows
from locatlas.query.search.exclude import ExclusionIndex, in_order_of
from locatlas.query.search.join import Lists, join
from locatlas.query.search.refine import EXTRA_CANDIDATES, refine
from locatlas.query.search.threads import in_threads
from locatlas.query.search.tiles import Candidates
from locatlas.query.search.unit import Prepared, prepare
from locatlas.types import Neighbors

__all__ = ["JOIN_BYTES", "JOIN_FROM", "search_within", "within_rows"]

JOIN_FROM = 2048
"""Rows from which a search within one set is done as a join."""

JOIN_BYTES = 2 << 30
"""Memory that a join's lists may take; above, the set is searched block by block."""

_ROWS_AT_ONCE = 512


def search_within(
    vectors: NDArray[Any] | Prepared,
    *,
    k: int,
    exclude: Sequence[NDArray[np.int64]],
    device: str = "cpu",
    tally: Tally | None = None,
) -> Neighbors:
    """The `k` nearest of each row among the others of the same set: `search` with half of its work or less.

    Args:
        vectors: Shape (n, d), not normalised; left as they are.
        k: Neighbors per row, 1 <= k.
        exclude: Codes of the rows, int64 (n,): equal codes never meet, -1 meets all. At least one must have distinct
            codes or groups that hold each row itself, or a row finds itself. The one with the fewest groups (folds)
            should come first: what it excludes is not even computed.
        device: As `search`.
        tally: As `search`.

    Returns:
        What `search(vectors, vectors, k=k, exclude=...)` returns.

    Raises:
        InputError: As `search`.
    """
    prepared = prepare(vectors)
    check_k(k)
    found = Neighbors(
        np.full((len(prepared), k), -1, dtype=np.int64), np.full((len(prepared), k), np.nan, dtype=np.float32)
    )

    def take(rows: NDArray[np.int64], some: Neighbors) -> None:
        found.indices[rows], found.similarities[rows] = some.indices, some.similarities

    rows = in_order_of(exclude, len(prepared))
    within_rows(prepared, rows, take, k=k, exclude=exclude, device=device, tally=tally)
    return found


def within_rows(
    vectors: Prepared,
    rows: NDArray[np.int64],
    take: Take,
    *,
    k: int,
    exclude: Sequence[NDArray[np.int64]],
    device: str = "cpu",
    tally: Tally | None = None,
) -> None:
    """`search_within` for some of the rows, whose neighbors are handed on, so that those of few need be held.

    Args:
        vectors: All of them are references.
        rows: Those that ask, as `exact.search_rows`.
        take: As `exact.search_rows`.
        k: As `search_within`.
        exclude: As `search_within`.
        device: As `search_within`.
        tally: As `search_within`.

    Raises:
        InputError: As `search_within`.
    """
    n, width = len(vectors), int(k) + EXTRA_CANDIDATES
    join_fits = n >= JOIN_FROM and 8 * width <= n and n * Lists.row_bytes(width) <= JOIN_BYTES
    if len(rows) < n or device != "cpu" or k < 1 or not join_fits or narrow_pays(n, vectors, int(k)):
        pairs = [(codes, codes) for codes in exclude]
        search_rows(vectors, vectors, rows, take, k=k, exclude=pairs, device=device, tally=tally)
        return
    joined = _Joined.of(vectors, exclude, int(k))
    if tally is not None:
        tally.wide += n
    joined.hand_on(rows, take)


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """A join that is done, whose lists are ranked some after the others.

    Attributes:
        vectors: All rows.
        order: Rows in the order of the lists.
        place: Where in the lists each row stands; -1 for a zero vector.
        lists: What may be among the best of each.
        exclude: As `search_within`.
        exclusions: The same, built for all rows in their own order.
        k: Neighbors wanted.
    """

    vectors: Prepared
    order: NDArray[np.int64]
    place: NDArray[np.int64]
    lists: Lists
    exclude: Sequence[NDArray[np.int64]]
    exclusions: ExclusionIndex
    k: int

    @classmethod
    def of(cls, vectors: Prepared, exclude: Sequence[NDArray[np.int64]], k: int) -> "_Joined":
        n = len(vectors)
        order = np.random.default_rng(0).permutation(np.flatnonzero(vectors.lengths > 0))
        if exclude:
            order = order[np.argsort(exclude[0][order], kind="stable")]
        lists = join(vectors.unit(order), [codes[order] for codes in exclude], width=k + EXTRA_CANDIDATES)
        everywhere = ExclusionIndex.build([(c, c) for c in exclude], n_queries=n, n_references=n, columns=None)
        place = np.full(n, -1, dtype=np.int64)
        place[order] = np.arange(len(order))
        return cls(vectors, order, place, lists, exclude, everywhere, k)

    def hand_on(self, rows: NDArray[np.int64], take: Take) -> None:
        """The neighbors of some rows."""
        asks = self.place[rows] >= 0
        silent, asking = rows[~asks], rows[asks]
        if len(silent):
            none = np.full((len(silent), self.k), -1, dtype=np.int64)
            take(silent, Neighbors(none, np.full(none.shape, np.nan, dtype=np.float32)))
        # the sample misled these, or exclusions leave them few to meet
        misled = self.lists.filled[self.place[asking]] < self.lists.width
        fine, short = asking[~misled], asking[misled]

        def settle(low: int) -> None:
            mine = fine[low : low + _ROWS_AT_ONCE]
            columns, scores = self.lists.best(self.place[mine])
            ranked = refine(
                Candidates(np.where(columns >= 0, self.order[columns], -1), scores),
                self.vectors.take(mine),
                self.vectors,
                k=self.k,
                exclusions=self.exclusions.of(mine),
                valid=self.vectors.lengths > 0,
            )
            take(mine, ranked)

        in_threads(settle, range(0, len(fine), _ROWS_AT_ONCE))
        if len(short):
            few = [(codes[short], codes) for codes in self.exclude]
            take(short, search(self.vectors.take(short), self.vectors, k=self.k, exclude=few))
