"""Nearest neighbors within one set of vectors: all of them, or of some rows after the others. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.exact import Tally, narrow_pays, search, search_blocks
from locatlas.query.exclude import ExclusionIndex
from locatlas.query.join import Lists, join
from locatlas.query.refine import EXTRA_CANDIDATES, refine
from locatlas.query.threads import in_threads
from locatlas.query.tiles import Candidates
from locatlas.query.unit import Prepared, prepare
from locatlas.types import Neighbors

__all__ = ["JOIN_BYTES", "JOIN_FROM", "search_within", "within_blocks"]

JOIN_FROM = 2048
"""Rows from which a search within one set is done as a join."""

JOIN_BYTES = 2 << 30
"""Memory that a join's lists may take; above, the set is searched block by block."""

_ROWS_AT_ONCE = 1024


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
    rows = np.arange(len(prepared))
    (found,) = within_blocks(prepared, [rows], k=k, exclude=exclude, device=device, tally=tally)
    return found


def within_blocks(
    vectors: Prepared,
    blocks: Sequence[NDArray[np.int64]],
    *,
    k: int,
    exclude: Sequence[NDArray[np.int64]],
    alike: NDArray[np.int64] | None = None,
    device: str = "cpu",
    tally: Tally | None = None,
) -> Iterator[Neighbors]:
    """`search_within` for some of the rows after the others, so that the neighbors of no more need be held.

    Args:
        vectors: All of them are references.
        blocks: Rows that ask, thousands of them at a time, in the order in which they are answered; no row twice.
        k: As `search_within`.
        exclude: As `search_within`.
        alike: Codes of the rows whose equals are probably near each other (`exact.search_blocks`).
        device: As `search_within`.
        tally: As `search_within`.

    Yields:
        The neighbors of each block, in the order of its rows.

    Raises:
        InputError: As `search_within`.
    """
    n, width = len(vectors), int(k) + EXTRA_CANDIDATES
    n_asked = sum(len(rows) for rows in blocks)
    join_fits = n >= JOIN_FROM and 8 * width <= n and n * Lists.row_bytes(width) <= JOIN_BYTES
    if n_asked < n or device != "cpu" or k < 1 or not join_fits or narrow_pays(n, vectors, int(k)):
        pairs, near = [(codes, codes) for codes in exclude], None if alike is None else (alike, alike)
        yield from search_blocks(vectors, vectors, blocks, k=k, exclude=pairs, alike=near, device=device, tally=tally)
        return
    joined = _Joined.of(vectors, exclude, int(k))
    for rows in blocks:
        if tally is not None:
            tally.wide += len(rows)
        yield joined.block(rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """A join that is done, whose lists are ranked block by block.

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

    def block(self, rows: NDArray[np.int64]) -> Neighbors:
        """The neighbors of some rows."""
        k, vectors = self.k, self.vectors
        found = Neighbors(
            np.full((len(rows), k), -1, dtype=np.int64), np.full((len(rows), k), np.nan, dtype=np.float32)
        )
        asking = np.flatnonzero(self.place[rows] >= 0)
        asking = asking[np.argsort(self.place[rows[asking]])]

        def settle(low: int) -> None:
            some = asking[low : low + _ROWS_AT_ONCE]
            mine = rows[some]
            columns, scores = self.lists.best(self.place[mine])
            ranked = refine(
                Candidates(np.where(columns >= 0, self.order[columns], -1), scores),
                vectors.take(mine),
                vectors,
                k=k,
                exclusions=self.exclusions.of(mine),
                valid=vectors.lengths > 0,
            )
            found.indices[some], found.similarities[some] = ranked.indices, ranked.similarities

        in_threads(settle, range(0, len(asking), _ROWS_AT_ONCE))
        short = asking[self.lists.filled[self.place[rows[asking]]] < self.lists.width]
        if len(short):  # the sample misled these rows, or exclusions leave them few to meet
            few = [(codes[rows[short]], codes) for codes in self.exclude]
            again = search(vectors.take(rows[short]), vectors, k=k, exclude=few)
            found.indices[short], found.similarities[short] = again.indices, again.similarities
        return found
