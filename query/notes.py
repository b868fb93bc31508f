"""What a reader of an answer must know beside it, in one line each. Pure."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from locatlas.query.localize import Localized
from locatlas.query.view import View
from locatlas.query.vocabulary import mixed

__all__ = ["beyond_filters", "mixed_vocabularies", "too_few_voters"]

logger = logging.getLogger(__name__)


def beyond_filters(passing: NDArray[np.bool_] | None, rows: NDArray[np.int64], what: str) -> list[str]:
    """That a query is made of rows that the filters would leave out, since filters say who answers.

    Args:
        passing: (n,) rows that pass; None where all do.
        rows: Rows of the query.
        what: They are called.
    """
    n = 0 if passing is None else int((~passing[rows]).sum())
    return [f"{n} of the {len(rows)} {what} do not pass the filters, which say who may answer"] if n else []


def too_few_voters(items: Sequence[Localized], k: int) -> list[str]:
    """How many items had fewer than k neighbors to vote."""
    few = sum(len(item.neighbors) < k for item in items)
    return [f"{few} of {len(items)} had fewer than {k} labelled neighbors left to vote"] if few else []


def mixed_vocabularies(view: View, allowed: NDArray[np.bool_] | None) -> list[str]:
    """What a reader of a vote must know: here, that two words for one place split it."""
    sets = view.localizations
    rows = range(len(sets)) if allowed is None else np.flatnonzero(allowed)
    name = mixed(frozenset().union(*(sets[row] for row in rows)))
    if name is None:
        return []
    note = f"localizations of two vocabularies are mixed and split the vote: map them ({name}) or filter by data set"
    logger.warning(note)
    return [note]
