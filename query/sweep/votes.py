"""From the neighbors of a sweep to what is predicted at every k, for rows or for the units they belong to. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.answers.aggregate import How, aggregate
from locatlas.query.answers.vote import LabelSets, Ties, Weights, predict_multi, predict_single, votes
from locatlas.query.scores.protocols import LabelMode
from locatlas.query.sweep.rows import Units
from locatlas.types import Neighbors

__all__ = ["VoteRule", "empty_predictions", "predict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRule:
    """How votes become predictions.

    Attributes:
        mode: `single` predicts one class, `multi` a set.
        temperature: Of `softmax` votes.
        threshold: Of `multi`.
        top_if_none: Of `multi`: where no class reaches the threshold, predict the best one.
        ties: Of `single` predictions of rows.
        how: How the votes of a unit's rows are aggregated.
        top: Share of the most confident rows, where `how` is `top`.
    """

    mode: LabelMode
    temperature: float
    threshold: float
    top_if_none: bool
    ties: Ties
    how: How
    top: float

    def settings(self, *, of_units: bool) -> dict[str, Any]:
        """Those that decided, for the record."""
        said: dict[str, Any] = {"temperature": self.temperature, "ties": self.ties}
        if self.mode == "multi":
            said |= {"threshold": self.threshold, "top_if_none": self.top_if_none}
        if of_units:
            said |= {"how": self.how} | ({"top": self.top} if self.how == "top" else {})
        return said


def empty_predictions(
    n: int, n_classes: int, ks: list[int], rule: VoteRule, keep: Collection[int]
) -> tuple[NDArray[Any], dict[int, NDArray[np.float64]]]:
    """Arrays for what `predict` returns."""
    single = rule.mode == "single"
    out = np.empty((len(ks), n), np.int32) if single else np.empty((len(ks), n, n_classes), np.bool_)
    return out, {k: np.empty((n, n_classes)) for k in ks if k in keep}


def predict(
    neighbors: Neighbors,
    labels: LabelSets,
    ks: list[int],
    weights: Weights,
    rule: VoteRule,
    units: Units | None = None,
    *,
    keep: Collection[int] = (),
) -> tuple[NDArray[Any], dict[int, NDArray[np.float64]]]:
    """What is predicted at each k.

    Args:
        neighbors: Of the rows that are asked, at least max(ks) wide.
        labels: Classes of the rows that may vote.
        ks: Ascending.
        weights: Of the votes.
        rule: What votes become.
        units: What the asked rows are put together to; None predicts for rows.
        keep: Those of `ks` at which the scores are wanted, too.

    Returns:
        Class numbers (n_ks, n), -1 for none, or bool (n_ks, n, n_classes) for `multi`; n asked rows or units. And the
        scores that decided, float64 (n, n_classes) in [0, 1], at each k to keep.
    """
    single = rule.mode == "single"
    n = len(neighbors.indices) if units is None else len(units.table)
    out, kept = empty_predictions(n, labels.table.shape[1], ks, rule, keep)
    if units is not None:
        for step, k in enumerate(ks):
            out[step], scores = _of_units(neighbors, labels, k, weights, rule, units)
            if k in kept:
                kept[k] = scores
        return out, kept
    for rows, scores in votes(neighbors, labels, ks=ks, weights=weights, temperature=rule.temperature):
        near = Neighbors(neighbors.indices[rows], neighbors.similarities[rows])
        for step, k in enumerate(ks):
            if k in kept:
                kept[k][rows] = scores[step]
            if single:
                out[step, rows] = predict_single(scores[step], near, labels.table, k=k, ties=rule.ties)
            else:
                out[step, rows] = predict_multi(scores[step], threshold=rule.threshold, top_if_none=rule.top_if_none)
    return out, kept


def _of_units(
    neighbors: Neighbors, labels: LabelSets, k: int, weights: Weights, rule: VoteRule, units: Units
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """As `predict`, at one k: the scores of all rows are needed at once, so that ks are taken one by one."""
    n_asked = len(neighbors.indices)
    scores, tops = np.empty((n_asked, labels.table.shape[1])), np.empty(n_asked, np.int64)
    for rows, part in votes(neighbors, labels, ks=[k], weights=weights, temperature=rule.temperature):
        near = Neighbors(neighbors.indices[rows], neighbors.similarities[rows])
        scores[rows] = part[0]
        tops[rows] = predict_single(part[0], near, labels.table, k=k, ties=rule.ties)
    found = aggregate(scores, tops, units.of_row, n_units=len(units.names), how=rule.how, top=rule.top)
    if rule.mode == "single":
        return found.top, found.scores
    return predict_multi(found.scores, threshold=rule.threshold, top_if_none=rule.top_if_none), found.scores
