"""What a reader of an answer must know beside it, in one line each. Pure."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from locatlas.query.answers.localize import Localized
from locatlas.query.asking.lookup import Queries
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from locatlas.query.asking.vocabulary import mixed

__all__ = [
    "beyond_filters",
    "in_the_atlas",
    "mixed_vocabularies",
    "shares_above_one",
    "too_few_voters",
    "unknown_proteins",
]

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


def in_the_atlas(subject: Subject, queries: Queries, exclude: str) -> list[str]:
    """That a new image is one of the atlas already, and what is left out of its answer for that."""
    if not subject.image or queries.made_of is None:
        return []
    ids = queries.made_of.ids
    names = ids[0] if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more"
    proteins = sorted({name for name in queries.made_of.column("protein") if name is not None})
    out = {
        "none": "under --exclude none it may meet itself",
        "self": "it is left out of its own answer",
        "fov": "its field is left out of its own answer",
        "protein": f"it is left out of its own answer, with all other images of {', '.join(proteins)}"
        if proteins
        else "its field is left out of its own answer",
    }.get(exclude, f"it is left out of its own answer, with all of the same {exclude}")
    return [f"the image is in the atlas already, as {names}: {out}"]


def too_few_voters(items: Sequence[Localized], k: int) -> list[str]:
    """How many items had fewer than k neighbors to vote."""
    few = sum(len(item.neighbors) < k for item in items)
    return [f"{few} of {len(items)} had fewer than {k} labelled neighbors left to vote"] if few else []


def shares_above_one(scores: Iterable[Iterable[float]]) -> list[str]:
    """That shares of a vote are no parts of one whole, where they add up to more.

    Args:
        scores: Of each item, the shares of its localizations.
    """
    if not any(sum(shares) > 1 + 1e-9 for shares in scores):
        return []
    return ["a neighbor with several localizations votes for each of them: shares of a vote can add up to more than 1"]


def unknown_proteins(queries: Queries, exclude: str) -> list[str]:
    """That other images of a query's protein, or of what it was cut from, could not be left out."""
    if exclude != "protein" or (queries.rows is None and queries.made_of is None):
        return []
    n = sum(name is None for name in queries.column("protein"))
    if not n or queries.made_of is not None:
        return []
    whose = "its protein is" if len(queries.names) == 1 else f"the proteins of {n} of {len(queries.names)} are"
    return [f"{whose} not known, so only itself and its field are left out; --exclude COLUMN leaves out more"]


def mixed_vocabularies(view: View, allowed: NDArray[np.bool_] | None) -> list[str]:
    """What a reader of a vote must know: here, that two words for one place split it."""
    sets = view.localizations
    rows = range(len(sets)) if allowed is None else np.flatnonzero(allowed)
    name = mixed(frozenset().union(*{sets[row] for row in rows}))
    if name is None:
        return []
    note = (
        "localizations of two vocabularies are mixed and split the vote: map them (--map-labels "
        f"{name.replace('->', ':')}) or filter by data set"
    )
    logger.warning(note)
    return [note]
