"""From the votes of cells to those of their field or protein, and how much the cells of one differ. Pure."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError

__all__ = ["DEFAULT_TOP", "DEFINITIONS", "HOWS", "Aggregated", "How", "aggregate", "check_how", "join_groups"]

How = Literal["mean", "majority", "top"]
HOWS: tuple[How, ...] = get_args(How)

DEFAULT_TOP = 0.25
"""Share of the cells of a unit that `top` takes where none is given."""

DEFINITIONS = {
    "mean": "mean of the cells' scores",
    "majority": "share of the cells whose top class it is",
    "top": "mean of the scores of the most confident cells, a stated share of them and at least one; a cell's "
    "confidence is its highest score to five decimals, ties go by the hashed order of ids",
    "heterogeneity": "share of the cells whose top class is not the most frequent one among them",
    "entropy": "entropy of the cells' top classes, divided by the logarithm of the number of classes that can be voted "
    "for: 0 where all cells agree, 1 where all classes are equally frequent",
}

_CONFIDENCE_DECIMALS = 5  # float32 similarities weigh votes to some seven digits
_DECIMALS = 12  # of scores, so that equal ones are equal in whatever order cells are added


@dataclass(frozen=True, slots=True, eq=False)
class Aggregated:
    """What the cells of each unit (a field, a protein) say together. Cells without any vote say nothing.

    Attributes:
        n: Cells with a vote, int64 (n_units,).
        n_silent: Cells without any, int64 (n_units,).
        scores: In [0, 1], float64 (n_units, n_classes), rounded to 12 decimals; 0 for a unit without votes.
        top: The class with the highest score, int64 (n_units,); -1 for a unit without votes. Of equal ones that of the
            most confident cell whose top class it is.
        counts: Cells by their top class, int64 (n_units, n_classes).
        heterogeneity: Share of the cells whose top class is not their most frequent one, (n_units,); NaN without votes.
        entropy: Of the top classes, normalised to [0, 1] by the logarithm of n_classes, (n_units,); NaN without votes.
    """

    n: NDArray[np.int64]
    n_silent: NDArray[np.int64]
    scores: NDArray[np.float64]
    top: NDArray[np.int64]
    counts: NDArray[np.int64]
    heterogeneity: NDArray[np.float64]
    entropy: NDArray[np.float64]


def check_how(how: str, top: float) -> None:
    """Refuse a way of aggregation that does not exist, or a share that is none.

    Raises:
        UnknownNameError: If `how` is unknown.
        InputError: If `top` is outside (0, 1].
    """
    if how not in HOWS:
        raise UnknownNameError("way of aggregation", how, HOWS)
    if not 0 < top <= 1:
        message = f"top = {top!r}: a share of the cells, above 0 and at most 1, needed"
        raise InputError(message)


def aggregate(
    scores: NDArray[np.float64],
    tops: NDArray[np.int64],
    units: NDArray[np.int64],
    *,
    n_units: int,
    how: How = "mean",
    top: float = DEFAULT_TOP,
) -> Aggregated:
    """Aggregate the scores of cells.

    Args:
        scores: As `vote.vote` gives them, (n, n_classes), in [0, 1]. Rows stand in the hashed order of their ids: of
            equally confident ones the earlier comes first.
        tops: The top class of each cell, as `vote.predict_single` gives it, int64 (n,); -1 where nothing voted.
        units: Unit of each cell, int64 (n,), 0 <= unit < n_units; -1 for none.
        n_units: Units in all.
        how: `mean` of the scores, `majority` (share of cells by top class), or `top` (mean over the most confident).
        top: Share of the cells that `top` takes, in (0, 1]; at least one cell.

    Raises:
        UnknownNameError: If `how` is unknown.
        InputError: If `top` is out of range.

    Example:
        Two cells of one unit, each sure of another class, and one that is half sure of both.

        >>> votes = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
        >>> found = aggregate(votes, np.array([0, 1, 0]), np.zeros(3, dtype=np.int64), n_units=1, how="majority")
        >>> found.counts.tolist(), round(float(found.heterogeneity[0]), 3)
        ([[2, 1]], 0.333)
    """
    check_how(how, top)
    n_classes = scores.shape[1]
    there = units >= 0
    silent = np.bincount(units[there & (tops < 0)], minlength=n_units)
    rows = np.flatnonzero(there & (tops >= 0))
    # all neighbors of one class is a confidence of 1 but for rounding, which must not choose among such cells
    confidence = np.round(scores[rows].max(axis=1, initial=0.0), _CONFIDENCE_DECIMALS)
    # by unit, the most confident first; lexsort is stable, so that equal ones keep their order
    rows = rows[np.lexsort((-confidence, units[rows]))]
    of, chosen_class = units[rows], tops[rows]
    n = np.bincount(of, minlength=n_units)
    counts = np.bincount(of * n_classes + chosen_class, minlength=n_units * n_classes).reshape(n_units, n_classes)
    shares: NDArray[np.float64] = np.divide(counts, n[:, None], out=np.zeros(counts.shape), where=n[:, None] > 0)
    if how == "majority":
        together = shares
    else:
        n_best = n if how == "mean" else np.maximum(np.ceil(top * n - 1e-9).astype(np.int64), n > 0)
        rank = np.arange(len(rows)) - (np.cumsum(n) - n)[of]
        best = rows[rank < n_best[of]]
        together = np.zeros((n_units, n_classes))
        if len(best):
            heard = n > 0
            starts = (np.cumsum(n_best) - n_best)[heard]
            together[heard] = np.add.reduceat(scores[best], starts, axis=0) / n_best[heard, None]
    together = np.round(together, _DECIMALS)
    return Aggregated(
        n=n.astype(np.int64),
        n_silent=silent.astype(np.int64),
        scores=together,
        top=_top_class(together, n, of, chosen_class),
        counts=counts.astype(np.int64),
        heterogeneity=np.where(n > 0, 1.0 - shares.max(axis=1, initial=0.0), np.nan),
        entropy=np.where(n > 0, _entropy(shares), np.nan),
    )


def _top_class(
    scores: NDArray[np.float64], n: NDArray[np.int64], units: NDArray[np.int64], tops: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The class with the highest score, ties to that of the first row (the most confident) that has one of them."""
    if not scores.shape[1]:
        return np.full(len(scores), -1, dtype=np.int64)
    found = np.where(n > 0, scores.argmax(axis=1), -1).astype(np.int64)
    tied = (scores == scores.max(axis=1, keepdims=True)) & (n > 0)[:, None]
    open_units = tied.sum(axis=1) > 1
    deciding = np.flatnonzero(open_units[units] & tied[units, tops])
    decided, first = np.unique(units[deciding], return_index=True)
    found[decided] = tops[deciding[first]]
    return found


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    if shares.shape[1] < 2:
        return np.zeros(len(shares))
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.maximum(-(shares * logs).sum(axis=1) / np.log(shares.shape[1]), 0.0)


def join_groups(groups: NDArray[np.int64], units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups that share a unit as one, so that no unit is split: the connected parts of groups and units.

    Args:
        groups: Group of each row, int64 (n,), >= 0.
        units: Unit of each row, int64 (n,); -1 for none.

    Returns:
        For each row the smallest group code of its part, int64 (n,); the groups themselves where no unit is split.
    """
    there = units >= 0
    label = np.arange(int(groups.max(initial=-1)) + 1)
    while True:
        of_unit = np.full(int(units.max(initial=-1)) + 1, len(label))
        np.minimum.at(of_unit, units[there], label[groups[there]])
        lower = label.copy()
        np.minimum.at(lower, groups[there], of_unit[units[there]])
        if (lower == label).all():
            return label[groups]
        label = lower
