"""Exact nearest neighbors by cosine similarity, with exclusions struck out before they are ranked. Pure.

Products of narrow numbers (`coarse`, where they pay and prove what they found), those in float32 of `tiles` or `join`,
or of torch on a GPU, find candidates; `refine` settles every near tie in float64: the result is the float64 brute
force ranking, by (similarity, row), whatever found it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query import coarse
from locatlas.query.exclude import Exclusion, ExclusionIndex
from locatlas.query.join import Lists, join
from locatlas.query.refine import EXTRA_CANDIDATES, refine
from locatlas.query.threads import in_threads
from locatlas.query.tiles import IN_RANGE, Candidates, few_queries, search_tiles
from locatlas.query.unit import Prepared, normalize, prepare, unit_rows
from locatlas.types import Neighbors

__all__ = ["Prepared", "Tally", "normalize", "prepare", "search", "search_within"]

JOIN_FROM = 2048
"""Rows from which a search within one set is done as a join."""

JOIN_BYTES = 2 << 30
"""Memory that a join's lists may take; above, the set is searched block by block."""

_ROWS_AT_ONCE = 1024


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
    asked, searched = prepare(queries, "queries"), prepare(references, "references")
    query_vectors, reference_vectors = asked.vectors, searched.vectors
    n_queries, n_references = len(query_vectors), len(reference_vectors)
    if query_vectors.shape[1] != reference_vectors.shape[1]:
        message = f"queries have {query_vectors.shape[1]} numbers a vector, references {reference_vectors.shape[1]}"
        raise InputError(message)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        message = f"k = {k!r}: a whole number of at least 1 needed"
        raise InputError(message)
    if allowed is not None and (allowed.shape != (n_references,) or allowed.dtype != np.bool_):
        message = f"allowed has shape {allowed.shape} and dtype {allowed.dtype}: bool ({n_references},) needed"
        raise InputError(message)
    lengths = asked.lengths, searched.lengths
    valid = lengths[1] > 0 if allowed is None else (lengths[1] > 0) & allowed
    asking = np.flatnonzero(lengths[0] > 0)
    everywhere = ExclusionIndex.build(exclude, n_queries=n_queries, n_references=n_references, columns=None)
    found = Neighbors(np.full((n_queries, k), -1, dtype=np.int64), np.full((n_queries, k), np.nan, dtype=np.float32))
    if not len(asking) or not valid.any():
        return found
    if device == "cpu" and _narrow_pays(len(asking), searched, int(k), valid):
        n_asking = len(asking)
        asking = _by_narrow(asked, asking, searched, exclude, everywhere, found, valid=valid)
        if tally is not None:
            tally.narrow += n_asking - len(asking)
            tally.unproven += len(asking)
    if tally is not None:
        tally.wide += len(asking)
    if not len(asking):
        return found
    mine = everywhere.of(asking)
    few = [(codes[asking], reference_codes) for codes, reference_codes in exclude]
    candidates = _candidates(
        unit_rows(query_vectors, lengths[0], asking), searched, valid, few, mine, k=int(k), device=device
    )
    ranked = refine(
        candidates,
        query_vectors[asking],
        reference_vectors,
        (lengths[0][asking], lengths[1]),
        k=int(k),
        exclusions=mine,
        valid=valid,
    )
    found.indices[asking] = ranked.indices
    found.similarities[asking] = ranked.similarities
    return found


def _narrow_pays(n_queries: int, searched: Prepared, k: int, valid: NDArray[np.bool_] | None = None) -> bool:
    """Whether bfloat16 products are to find the candidates first."""
    lengths = searched.lengths if valid is None else searched.lengths[valid]
    lengths = lengths[lengths > 0]
    width = k + EXTRA_CANDIDATES
    return coarse.pays(n_queries, len(lengths), searched.vectors.shape[1], width) and bool(
        lengths.min() > IN_RANGE[0] and lengths.max() < IN_RANGE[1]
    )


def _by_narrow(
    asked: Prepared,
    asking: NDArray[np.int64],
    searched: Prepared,
    exclude: Sequence[Exclusion],
    everywhere: ExclusionIndex,
    found: Neighbors,
    *,
    valid: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Write the proven neighbors of the asking ones into `found`; return those that are left, ascending."""
    columns = np.flatnonzero(valid)
    if exclude:  # groups stand together: what a block may not meet is skipped, and alike vectors share the caches
        asking = asking[np.lexsort([codes[asking] for codes, _ in reversed(exclude)])]
        columns = columns[np.lexsort([codes[columns] for _, codes in reversed(exclude)])]
    there = [(mine[asking], theirs) for mine, theirs in exclude]
    k = found.k

    def settle(places: NDArray[np.int64], candidates: Candidates) -> None:
        rows = asking[places]
        ranked = refine(
            candidates,
            asked.vectors[rows],
            searched.vectors,
            (asked.lengths[rows], searched.lengths),
            k=k,
            exclusions=everywhere.of(rows),
            valid=valid,
        )
        found.indices[rows], found.similarities[rows] = ranked.indices, ranked.similarities

    left = coarse.search_coarse(
        (asked, asking),
        (searched, columns),
        ExclusionIndex.build(there, n_queries=len(asking), n_references=len(searched), columns=columns),
        settle,
        width=k + EXTRA_CANDIDATES,
        sorted_by=(there[0][0], there[0][1][columns]) if exclude else None,
    )
    return np.sort(asking[left])


def _candidates(
    unit_queries: NDArray[np.float32],
    searched: Prepared,
    valid: NDArray[np.bool_],
    exclude: Sequence[Exclusion],
    everywhere: ExclusionIndex,
    *,
    k: int,
    device: str,
) -> Candidates:
    """A few more than `k` by float32 similarity; `everywhere` is `exclude`, built for all references in order."""
    references, lengths = searched.vectors, searched.lengths
    n_queries, n_valid = len(unit_queries), int(np.count_nonzero(valid))
    width = min(k + EXTRA_CANDIDATES, n_valid)
    columns: NDArray[np.int64] | None = None
    if not few_queries(n_queries) or device != "cpu" or 2 * n_valid < len(references):
        # any fixed order that has nothing to do with the rows' own; the result does not depend on it
        columns = np.random.default_rng(0).permutation(np.flatnonzero(valid))
    exclusions = everywhere
    if columns is not None:
        exclusions = ExclusionIndex.build(exclude, n_queries=n_queries, n_references=len(references), columns=columns)
    if device != "cpu":
        from locatlas.query.tiles_torch import search_torch

        assert columns is not None
        return search_torch(unit_queries, unit_rows(references, lengths, columns), columns, exclusions, width, device)
    return search_tiles(
        unit_queries, references, lengths, columns, ~valid if columns is None else None, exclusions, width=width
    )


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
    array, lengths = prepared.vectors, prepared.lengths
    n, width = len(array), int(k) + EXTRA_CANDIDATES
    join_fits = n >= JOIN_FROM and 8 * width <= n and n * Lists.row_bytes(width) <= JOIN_BYTES
    if device != "cpu" or k < 1 or not join_fits or _narrow_pays(n, prepared, int(k)):
        pairs = [(codes, codes) for codes in exclude]
        return search(prepared, prepared, k=k, exclude=pairs, device=device, tally=tally)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(lengths > 0))
    if exclude:
        rows = rows[np.argsort(exclude[0][rows], kind="stable")]
    lists = join(unit_rows(array, lengths, rows), [codes[rows] for codes in exclude], width=width)
    everywhere = ExclusionIndex.build([(c, c) for c in exclude], n_queries=n, n_references=n, columns=None)
    found = Neighbors(np.full((n, k), -1, dtype=np.int64), np.full((n, k), np.nan, dtype=np.float32))

    def settle(low: int) -> None:
        part = rows[low : low + _ROWS_AT_ONCE]
        columns, scores = lists.best(slice(low, low + len(part)))
        ranked = refine(
            Candidates(np.where(columns >= 0, rows[columns], -1), scores),
            array[part],
            array,
            (lengths[part], lengths),
            k=int(k),
            exclusions=everywhere.of(part),
            valid=lengths > 0,
        )
        found.indices[part], found.similarities[part] = ranked.indices, ranked.similarities

    in_threads(settle, range(0, len(rows), _ROWS_AT_ONCE))
    if tally is not None:
        tally.wide += n
    short = rows[lists.filled < width]
    if len(short):  # the sample misled these rows, or exclusions leave them few to meet
        again = search(array[short], prepared, k=k, exclude=[(codes[short], codes) for codes in exclude])
        found.indices[short], found.similarities[short] = again.indices, again.similarities
    return found
