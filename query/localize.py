"""k-NN localization of queries: labelled neighbors vote, and stand as evidence. Pure, given the view."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.lookup import CandidateIndex, Queries, look_up
from locatlas.query.view import View
from locatlas.query.vote import DEFAULT_TEMPERATURE, Weights, predict_multi, vote

__all__ = ["Localized", "localize"]


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


def localize(
    queries: Queries,
    view: View,
    *,
    k: int,
    exclude: str,
    weights: Weights = "softmax",
    temperature: float = DEFAULT_TEMPERATURE,
    threshold: float = 0.5,
    allowed: NDArray[np.bool_] | None = None,
    index: CandidateIndex | None = None,
) -> tuple[list[Localized], bool]:
    """Let the k nearest labelled rows of a view vote on where each query is localized.

    Args:
        queries: Who asks; their own annotations are not looked at.
        view: Who votes; rows without a localization do not.
        k: Neighbors that vote, 1 <= k <= number of labelled rows.
        exclude: What a query must not meet.
        weights: Of the votes.
        temperature: Of softmax votes.
        threshold: Share of the vote from which a localization is predicted.
        allowed: (n,) rows that may vote.
        index: Approximate index over the view's rows, or None to search exactly.

    Returns:
        One answer a query, and whether the search was exact.

    Raises:
        InputError: If no row may vote, or k exceeds their number.
    """
    sets = view.localizations
    labelled = np.array([bool(names) for names in sets], dtype=np.bool_)
    voters = labelled if allowed is None else labelled & allowed
    n_voters = int(voters.sum())
    if not n_voters:
        message = "no labelled neighbors: none of the images that may answer has a localization"
        raise InputError(message)
    if k > n_voters:
        message = f"k = {k}, but only {n_voters} labelled images may vote"
        raise InputError(message)
    classes = sorted(frozenset().union(*(sets[row] for row in np.flatnonzero(voters))))
    place = {name: column for column, name in enumerate(classes)}
    labels = np.zeros((len(view), len(classes)), dtype=np.bool_)
    for row in np.flatnonzero(voters):
        labels[row, [place[name] for name in sets[row]]] = True
    neighbors, exact = look_up(queries, view, k=k, exclude=exclude, allowed=voters, index=index)
    scores = vote(neighbors, labels, k=k, weights=weights, temperature=temperature)
    called = predict_multi(scores, threshold=threshold, top_if_none=True)
    ids, proteins = view.ids, queries.column("protein")
    answers = []
    for i, name in enumerate(queries.names):
        ranked = [(classes[c], float(scores[i, c])) for c in np.argsort(-scores[i], kind="stable") if scores[i, c] > 0]
        there = neighbors.indices[i] >= 0
        answers.append(
            Localized(
                name=name,
                protein=proteins[i],
                annotated=sorted(queries.localizations[i]),
                predicted=[(label, score) for label, score in ranked if called[i, place[label]]],
                scores=ranked,
                neighbors=[ids[row] for row in neighbors.indices[i][there]],
                similarities=[float(s) for s in neighbors.similarities[i][there]],
            )
        )
    return answers, exact
