"""k-NN localization of queries: labelled neighbors vote, and stand as evidence. Pure, given the view."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.answers.vote import DEFAULT_TEMPERATURE, Weights, predict_multi, vote
from locatlas.query.asking.lookup import CandidateIndex, Queries, look_up
from locatlas.query.asking.selection import check_k
from locatlas.query.asking.view import View
from locatlas.types import Neighbors

__all__ = ["Ballot", "Localized", "cast", "localize"]


@dataclass(frozen=True, slots=True)
class Localized:
    """What the neighbors of one query say.

    Attributes:
        name: Of the query.
        protein: Its protein, None where unknown.
        annotated: Its annotated localizations, sorted.
        predicted: Localizations whose share of the vote reaches the threshold, or the top one if none does; by score.
        scores: Every localization with any vote, by score: the share of the neighbors' weight that carries it.
        neighbors: Ids of the neighbors that voted, nearest first.
        similarities: Their cosine similarities.
    """

    name: str
    protein: str | None
    annotated: list[str]
    predicted: list[tuple[str, float]]
    scores: list[tuple[str, float]]
    neighbors: list[str]
    similarities: list[float]

    def to_dict(self) -> dict[str, Any]:
        """One item of the JSON of `classify`."""
        return {
            "id": self.name,
            "protein": self.protein,
            "annotated": self.annotated,
            "predicted": [{"localization": name, "score": score} for name, score in self.predicted],
            "scores": [{"localization": name, "score": score} for name, score in self.scores],
            "neighbors": self.neighbors,
            "similarities": self.similarities,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Ballot:
    """The votes on all queries.

    Attributes:
        classes: Localizations that can be voted for, sorted.
        labels: Classes of the view's rows that may vote, bool (n_rows, n_classes).
        neighbors: Of the queries, as rows of the view.
        scores: float64 (n_queries, n_classes).
        exact: Whether the search was.
    """

    classes: list[str]
    labels: NDArray[np.bool_]
    neighbors: Neighbors
    scores: NDArray[np.float64]
    exact: bool


def cast(
    queries: Queries,
    view: View,
    *,
    k: int,
    exclude: str,
    weights: Weights = "softmax",
    temperature: float = DEFAULT_TEMPERATURE,
    allowed: NDArray[np.bool_] | None = None,
    index: CandidateIndex | None = None,
) -> Ballot:
    """Let the k nearest labelled rows of a view vote on where each query is localized.

    Args:
        queries: Who asks; their own annotations are not looked at.
        view: Who votes; rows without a localization do not.
        k: Neighbors that vote, 1 <= k <= number of labelled rows.
        exclude: What a query must not meet.
        weights: Of the votes.
        temperature: Of softmax votes.
        allowed: (n,) rows that may vote.
        index: Approximate index over the view's rows, or None to search exactly.

    Raises:
        InputError: If no row may vote, or k exceeds their number.
    """
    sets = view.localizations
    labelled = np.array([bool(names) for names in sets], dtype=np.bool_)
    voters = labelled if allowed is None else labelled & allowed
    n_voters = int(voters.sum())
    if not n_voters:
        what = "proteins" if view.level == "protein" else "images"
        message = f"no labelled neighbors: none of the {what} that may answer has a localization"
        raise InputError(message)
    check_k(k, n_voters, view.level, exclude, voting=True)
    classes = sorted(frozenset().union(*(sets[row] for row in np.flatnonzero(voters))))
    place = {name: column for column, name in enumerate(classes)}
    labels = np.zeros((len(view), len(classes)), dtype=np.bool_)
    for row in np.flatnonzero(voters):
        labels[row, [place[name] for name in sets[row]]] = True
    neighbors, exact = look_up(queries, view, k=k, exclude=exclude, allowed=voters, index=index)
    scores = vote(neighbors, labels, k=k, weights=weights, temperature=temperature)
    return Ballot(classes, labels, neighbors, scores, exact)


def localize(queries: Queries, view: View, *, threshold: float = 0.5, **how: Any) -> tuple[list[Localized], bool]:
    """Where each query is localized, with its neighbors as evidence.

    Args:
        queries: Who asks.
        view: Who votes.
        threshold: Share of the vote from which a localization is predicted.
        how: Further arguments of `cast`.

    Returns:
        One answer a query, and whether the search was exact.

    Raises:
        InputError: As `cast`.
    """
    ballot = cast(queries, view, **how)
    classes, scores, indices = ballot.classes, ballot.scores, ballot.neighbors.indices
    called = predict_multi(scores, threshold=threshold, top_if_none=True)
    ids, proteins = view.ids, queries.column("protein")
    answers = []
    for i, name in enumerate(queries.names):
        order = [int(c) for c in np.argsort(-scores[i], kind="stable") if scores[i, c] > 0]
        there = indices[i] >= 0
        answers.append(
            Localized(
                name=name,
                protein=proteins[i],
                annotated=sorted(queries.localizations[i]),
                predicted=[(classes[c], float(scores[i, c])) for c in order if called[i, c]],
                scores=[(classes[c], float(scores[i, c])) for c in order],
                neighbors=[ids[row] for row in indices[i][there]],
                similarities=[float(s) for s in ballot.neighbors.similarities[i][there]],
            )
        )
    return answers, ballot.exact
