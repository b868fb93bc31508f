"""Rows among which the nearest are sought: proposed by an index, completed by what came after it. Needs no store."""

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import StoreDamagedError
from locatlas.indexer.indices import faiss_index
from locatlas.indexer.indices.kinds import DISK
from locatlas.indexer.indices.sidecar import Sidecar
from locatlas.indexer.indices.unit import unit_vectors

__all__ = ["TableIndex", "find_candidates"]

SPARE = 16
REFINE = {"pqfs": 40, "ivfpq": 10, DISK: 10}
"""Candidates per wanted neighbor that coarse codes hand to the exact re-ranking, where the file does not say it."""

_log = logging.getLogger(__name__)

_told: set[str] = set()
"""Folders of indices on disk that failed in this process: each is told of once, not with every question."""


@dataclass(frozen=True, slots=True, eq=False)
class TableIndex:
    """An index that was checked against its table.

    Attributes:
        sidecar: What it was made from.
        index: The FAISS index, or the codes on disk.
        rows: (count,) row in the table's current vectors (sorted by id) of each row of the file, -1 where it is left
            out of them; None where they are the same.
        later: Rows of the table that the file does not hold; they are always candidates.
    """

    sidecar: Sidecar
    index: Any
    rows: NDArray[np.int64] | None
    later: NDArray[np.int64]

    def candidates(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Rows of the table among which the k nearest to one query are sought; the caller ranks them exactly.

        Args:
            query: (d,) float32, any length.
            k: Wanted neighbors.
            allowed: (n,) rows of the table that may be answers, or None for all.

        Returns:
            Distinct rows, ascending; all rows later than the index are among them, and at least k where so many are
            allowed.
        """
        unit = unit_vectors(query[None].astype(np.float32))
        mask = self._mask(allowed)
        try:
            found = find_candidates(self.index, self.sidecar.kind, self.sidecar.params, unit, k, mask)[0]
        except StoreDamagedError as error:  # of an index on disk: a newer one took its place, or a file is damaged
            _tell_once(self.sidecar.folder, error)
            found = np.empty(0, dtype=np.int64)
        found = found[found >= 0]
        if len(found) < k:  # perhaps the lists or paths that were searched hold too few: then rank them all
            there = np.arange(self.index.ntotal) if mask is None else np.flatnonzero(mask)
            found = there if len(found) < min(k, len(there)) else found
        if self.rows is not None:
            found = self.rows[found]
        if not len(self.later):
            return np.unique(found)
        later = self.later if allowed is None else self.later[allowed[self.later]]
        return np.union1d(found, later)

    def _mask(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Which rows of the file may be found; None for all."""
        if self.rows is None:
            return allowed
        mask: NDArray[np.bool_] = self.rows >= 0
        return mask if allowed is None else mask & allowed[self.rows]


def _tell_once(folder: str, error: StoreDamagedError) -> None:
    if folder not in _told:
        _told.add(folder)
        _log.warning("%s; this and further questions are searched exactly", error)


def find_candidates(
    index: Any,
    kind: str,
    params: dict[str, int],
    queries: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """Rows among which the nearest are sought.

    Args:
        index: Trained and filled; of `DISK`, a `DiskCodes`.
        kind: Of the index.
        params: As `new_index` gave them.
        queries: (n_queries, d) float32 unit vectors.
        k: Wanted neighbors, >= 1.
        allowed: (count,) rows of the index that may be answers, or None for all.

    Returns:
        Row numbers in the index, (n_queries, some); -1 where there is none.
    """
    # a few more than wanted, because float32 may order near-equal rows otherwise than the exact ranking that follows
    # and as many for one as for the ten that recall is told of
    wanted = min(index.ntotal, max(k, 10) * params.get("refine", REFINE[kind]) if kind in REFINE else k + SPARE)
    share = 1.0 if allowed is None else max(float(allowed.mean()), 1 / len(allowed))
    if kind == DISK:
        n_probe = min(params["n_list"], math.ceil(params["n_probe"] / share))
        return np.asarray(index.search(queries, wanted, n_probe, allowed), dtype=np.int64)
    return faiss_index.search(index, kind, params, queries, wanted, allowed, share)
