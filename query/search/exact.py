"""Exact nearest neighbors by cosine similarity, with exclusions struck out before they are ranked. Pure.

Products of narrow numbers (`coarse`, where they pay and prove what they found), those in float32 of `wide` or `join`,
on the CPU or a GPU, find candidates; `refine` settles every near tie in float64: the result is the float64 brute
force ranking, by (similarity, row), whatever found it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.search import coarse
from locatlas.query.search.exclude import Exclusion, ExclusionIndex, in_order_of
from locatlas.query.search.refine import EXTRA_CANDIDATES
from locatlas.query.search.threads import in_threads
from locatlas.query.search.tiles import FEW, IN_RANGE, Candidates
from locatlas.query.search.unit import Prepared, normalize, prepare
from locatlas.query.search.wide import Wide
from locatlas.types import Neighbors

__all__ = ["Prepared", "Take", "Tally", "check_k", "narrow_pays", "normalize", "prepare", "search", "search_rows"]

_FEW_TIMES = 8
"""Up to so many times `FEW` queries that narrow products left, no copy of the references is made for them."""

_AT_ONCE = 1024
_AT_ONCE_ON_A_DEVICE = 8192
"""Queries whose neighbors float32 products find before they are handed on, on the CPU and on other devices."""

_RANKED_AT_ONCE = 512

Take = Callable[[NDArray[np.int64], Neighbors], None]
"""Is given some rows of the queries and their neighbors; may be called from several threads, with each row once."""


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
    check_k(k)
    found = _nothing(len(asked), k)

    def take(rows: NDArray[np.int64], some: Neighbors) -> None:
        found.indices[rows], found.similarities[rows] = some.indices, some.similarities

    search_rows(
        asked,
        references,
        in_order_of([codes for codes, _ in exclude], len(asked)),
        take,
        k=k,
        exclude=exclude,
        allowed=allowed,
        device=device,
        tally=tally,
    )
    return found


def search_rows(
    queries: NDArray[Any] | Prepared,
    references: NDArray[Any] | Prepared,
    rows: NDArray[np.int64],
    take: Take,
    *,
    k: int,
    exclude: Sequence[Exclusion] = (),
    allowed: NDArray[np.bool_] | None = None,
    device: str = "cpu",
    tally: Tally | None = None,
) -> None:
    """`search` for some of the queries, whose neighbors are handed on as they are found, so that few need be held.

    Args:
        queries: As `search`.
        references: As `search`.
        rows: Of the queries, each at most once. The search is fast where those of equal codes of the first exclusion,
            and then those that are probably near each other, stand together.
        take: Is given some hundred or thousand rows at a time, in any order, each row once.
        k: As `search`.
        exclude: As `search`.
        allowed: As `search`.
        device: As `search`.
        tally: As `search`.

    Raises:
        InputError: As `search`.
    """
    asked, searched = prepare(queries, "queries"), prepare(references, "references")
    n_queries, n_references = len(asked), len(searched)
    if asked.dim != searched.dim:
        message = f"queries have {asked.dim} numbers a vector, references {searched.dim}"
        raise InputError(message)
    check_k(k)
    if allowed is not None and (allowed.shape != (n_references,) or allowed.dtype != np.bool_):
        message = f"allowed has shape {allowed.shape} and dtype {allowed.dtype}: bool ({n_references},) needed"
        raise InputError(message)
    valid = searched.lengths > 0 if allowed is None else (searched.lengths > 0) & allowed
    everywhere = ExclusionIndex.build(exclude, n_queries=n_queries, n_references=n_references, columns=None)
    finds = asked.lengths[rows] > 0 if valid.any() else np.zeros(len(rows), dtype=np.bool_)
    silent, left = rows[~finds], rows[finds]
    step = _AT_ONCE if device == "cpu" else _AT_ONCE_ON_A_DEVICE
    for low in range(0, len(silent), step):
        some = silent[low : low + step]
        take(some, _nothing(len(some), k))
    wide = _Whole(Wide(asked, searched, valid, exclude, everywhere, device), take, k)
    if device == "cpu" and len(left) and narrow_pays(len(left), searched, int(k), valid):
        narrow = _Narrow.of(wide, exclude)
        n_all, left = len(left), narrow.search(left)
        n_unproven = narrow.n_settled + len(left)
        if tally is not None:
            tally.narrow += n_all - n_unproven
            tally.unproven += n_unproven
            tally.wide += narrow.n_settled
        if len(left) <= _FEW_TIMES * FEW:
            step = FEW
    n_narrow = sum(wide.settle(left[low : low + step]) for low in range(0, len(left), step))
    if tally is not None:
        tally.narrow += n_narrow
        tally.wide += len(left) - n_narrow
        if len(left) and wide.products.narrow_on_device:
            tally.unproven += len(left) - n_narrow


def _nothing(n: int, k: int) -> Neighbors:
    return Neighbors(np.full((n, k), -1, dtype=np.int64), np.full((n, k), np.nan, dtype=np.float32))


def check_k(k: object) -> None:
    """Refuse a number of neighbors that is none.

    Raises:
        InputError: If it is not a whole number of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        message = f"k = {k!r}: a whole number of at least 1 needed"
        raise InputError(message)


@dataclass(frozen=True, slots=True, eq=False)
class _Whole:
    """A search by float32 products whose results are handed on."""

    products: Wide
    take: Take
    k: int

    def settle(self, rows: NDArray[np.int64]) -> int:
        """Find the neighbors of some queries, all of norm > 0; how many by bfloat16 products of a device."""
        found, n_narrow = self.products.candidates(rows, self.k)

        def hand_on(low: int) -> None:
            at = slice(low, low + _RANKED_AT_ONCE)
            some = Candidates(found.indices[at], found.similarities[at])
            self.take(rows[at], self.products.ranked(rows[at], some, self.k))

        if len(rows) <= _RANKED_AT_ONCE:
            hand_on(0)
        else:
            in_threads(hand_on, range(0, len(rows), _RANKED_AT_ONCE))
        return n_narrow


def narrow_pays(n_queries: int, searched: Prepared, k: int, valid: NDArray[np.bool_] | None = None) -> bool:
    """Whether bfloat16 products are to find the candidates first."""
    lengths = searched.lengths if valid is None else searched.lengths[valid]
    lengths = lengths[lengths > 0]
    width = k + EXTRA_CANDIDATES
    return coarse.pays(n_queries, len(lengths), searched.dim, width) and bool(
        lengths.min() > IN_RANGE[0] and lengths.max() < IN_RANGE[1]
    )


@dataclass(slots=True, eq=False)
class _Narrow:
    """A search by narrow products. What may not meet stands together among the references, so that it can be skipped.

    Attributes:
        wide: For queries that are not proven.
        references: Laid out.
        exclusions: Of all queries, built for these references, and
        of_sample: for their sample.
        codes: Of all queries, by which the references are sorted; None if they are not.
        n_settled: Queries that were not proven and have been searched in float32.
    """

    wide: _Whole
    references: coarse.References
    exclusions: ExclusionIndex
    of_sample: ExclusionIndex
    codes: NDArray[np.int64] | None
    n_settled: int = 0
    _unproven: list[NDArray[np.int64]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, wide: _Whole, exclude: Sequence[Exclusion]) -> "_Narrow":
        asked, searched = wide.products.asked, wide.products.searched
        columns = np.flatnonzero(wide.products.valid)
        # by place in memory, or in a file that is mapped, since codes are made in this order again and again
        if searched.rows is not None:
            columns = columns[np.argsort(searched.rows[columns])]
        if exclude:
            columns = columns[np.argsort(exclude[0][1][columns], kind="stable")]
        references = coarse.References.of(searched, columns, exclude[0][1][columns] if exclude else None)

        def built(some: NDArray[np.int64]) -> ExclusionIndex:
            return ExclusionIndex.build(exclude, n_queries=len(asked), n_references=len(searched), columns=some)

        codes = exclude[0][0] if exclude else None
        return cls(wide, references, built(columns), built(columns[references.sample]), codes)

    def search(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Hand on the neighbors of what is proven; return the other queries, but for those that were settled already.

        These are searched in float32 as soon as there are enough for one pass over the references, so that who waits
        for all rows of a unit does not wait to the end.
        """
        products, k = self.wide.products, self.wide.k

        def settle(places: NDArray[np.int64], candidates: Candidates, proven: NDArray[np.bool_]) -> None:
            some = rows[places[proven]]
            fine = Candidates(candidates.indices[proven], candidates.similarities[proven])
            self.wide.take(some, products.ranked(some, fine, k))
            if not proven.all():
                self._leave(rows[places[~proven]], few=2 * len(some) > len(places))

        untried = coarse.search_coarse(
            products.asked.take(rows),
            self.references,
            (self.exclusions.of(rows), self.of_sample.of(rows)),
            settle,
            width=k + EXTRA_CANDIDATES,
            sorted_by=None if self.codes is None else self.codes[rows],
        )
        return np.concatenate([*self._unproven, rows[untried]])

    def _leave(self, rows: NDArray[np.int64], *, few: bool) -> None:
        """Keep queries that are not proven; settle some once there are enough, if they are few among the tried."""
        with self._lock:
            self._unproven.append(rows)
            if not few or sum(len(some) for some in self._unproven) < FEW:
                return
            waiting = np.concatenate(self._unproven)
            mine, self._unproven[:] = waiting[:FEW], [waiting[FEW:]]
            self.n_settled += len(mine)
        self.wide.settle(mine)
