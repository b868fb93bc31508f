"""The answer of `classify`: where queries are localized, by the vote of their labelled neighbors. Reads the store."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from locatlas.query.answers import tables as answers
from locatlas.query.answers.localize import localize
from locatlas.query.answers.notes import (
    in_the_atlas,
    mixed_vocabularies,
    shares_above_one,
    too_few_voters,
    unknown_proteins,
)
from locatlas.query.answers.vote import Weights
from locatlas.query.asking.gene_ids import by_symbol
from locatlas.query.asking.leakage import training_notes
from locatlas.query.asking.scope import Scope, Seen, look
from locatlas.query.asking.selection import usable_index
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject

__all__ = ["DEFAULT_VOTERS", "Vote", "classify"]

DEFAULT_VOTERS = 20
"""Neighbors that vote where no number is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """How neighbors vote.

    Attributes:
        k: Neighbors that vote; None for `DEFAULT_VOTERS`, or as many as there are.
        exclude: What a query must not meet.
        weights: Of the votes.
        temperature: Of softmax votes.
        threshold: Share of the vote from which a localization is predicted.
        exact: True to scan, False to use the FAISS index, None to use it where there is one.
    """

    k: int | None = None
    exclude: str = "protein"
    weights: Weights = "softmax"
    temperature: float = 0.07
    threshold: float = 0.5
    exact: bool | None = None

    def number(self, seen: Seen) -> int:
        """Neighbors that vote: as asked for, or as many as there are up to the default."""
        if self.k is not None:
            return self.k
        voters = np.array([bool(names) for names in seen.view.localizations], dtype=np.bool_)
        return max(1, min(DEFAULT_VOTERS, int(voters.sum() if seen.allowed is None else voters[seen.allowed].sum())))

    def settled(self, seen: Seen) -> Self:
        """With the number of neighbors that vote in what a question looks at."""
        return replace(self, k=self.number(seen))

    def how(self, seen: Seen) -> dict[str, Any]:
        """Arguments of `localize.cast` that say how rows of a view are searched and vote, once it is settled."""
        return self.said() | {
            "temperature": self.temperature,
            "allowed": seen.allowed,
            "index": usable_index(seen.loaded, seen.view, exact=self.exact),
        }

    def said(self) -> dict[str, Any]:
        """What an answer names of it, once it is settled."""
        return {"k": self.k, "exclude": self.exclude, "weights": self.weights}


def classify(shelf: Shelf, subject: Subject, scope: Scope, vote: Vote) -> pa.Table:
    """One row a query.

    Args:
        shelf: What is loaded.
        subject: Who asks; everything that passes the filters if nobody is named.
        scope: Who votes.
        vote: How.

    Raises:
        UnknownNameError: If something named is not in the atlas.
        InputError: If k does not fit or nothing labelled may vote.
    """
    subject = by_symbol(subject, scope.image_views(shelf))
    seen = look(shelf, scope, subject)
    settled = vote.settled(seen)
    queries = subject.as_many(shelf.store, seen.loaded, seen.view, seen.allowed, scope.profile or "mean")
    items, was_exact = localize(queries, seen.view, threshold=vote.threshold, **settled.how(seen))
    return answers.localized_table(
        items,
        exact=was_exact,
        **settled.said(),
        **seen.said(),
        notes=seen.notes(
            subject.notes(seen.loaded),
            in_the_atlas(subject, queries, vote.exclude),
            training_notes(shelf.store, seen.loaded.encoder.spec, seen.view, queries.names, seen.loaded.view),
            too_few_voters(items, vote.k) if vote.k else [],
            unknown_proteins(queries, vote.exclude),
            shares_above_one((share for _, share in item.scores) for item in items),
            mixed_vocabularies(seen.view, seen.allowed),
        ),
    )
