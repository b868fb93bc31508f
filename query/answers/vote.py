"""From neighbors to class scores: weighted votes at one k or at many. Pure."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.types import Neighbors

__all__ = [
    "DEFAULT_TEMPERATURE",
    "LabelSets",
    "Ties",
    "Weights",
    "neighbor_weights",
    "predict_multi",
    "predict_single",
    "vote",
    "votes",
]

Weights = Literal["uniform", "distance", "softmax"]
Ties = Literal["nearest", "first"]

DEFAULT_TEMPERATURE = 0.07
"""Default of eval_knn.py in facebookresearch/dino and dinov2."""

_ROWS_AT_ONCE = 512  # bounds the per-label-set votes of one chunk


def _raw_weights(similarities: NDArray[np.float32], weights: Weights, temperature: float) -> NDArray[np.float64]:
    """Weights up to a factor per query, such that those of k neighbors are the first k of those of more."""
    if weights not in get_args(Weights):
        message = f"weights = {weights!r}: one of {', '.join(get_args(Weights))} needed"
        raise InputError(message)
    if not temperature > 0:
        message = f"temperature = {temperature!r}: a positive number needed"
        raise InputError(message)
    there = ~np.isnan(similarities)
    if weights == "uniform":
        return there.astype(np.float64)
    wide = np.where(there, similarities, -np.inf).astype(np.float64)
    if weights == "softmax":
        nearest = np.where(there[:, :1], wide[:, :1], 0.0)  # keeps the exponential in range; the factor cancels
        return np.exp((wide - nearest) / temperature)
    distances = 1.0 - wide
    touching = distances <= 0
    # rows are nearest first, so a row touches from its first neighbor on or not at all
    with np.errstate(divide="ignore"):
        return np.where(touching[:, :1], touching, 1.0 / distances)


def _check_k(k: int, k_max: int) -> None:
    if not 1 <= k <= k_max:
        message = f"k = {k}: 1 to {k_max} allowed, the neighbors given"
        raise InputError(message)


def neighbor_weights(
    similarities: NDArray[np.float32], *, k: int, weights: Weights = "uniform", temperature: float = DEFAULT_TEMPERATURE
) -> NDArray[np.float64]:
    r"""The share of the vote that each of the `k` nearest neighbors has.

    - `uniform`: 1 for each.
    - `distance`: :math:`1 / (1 - s)`, as scikit-learn's `KNeighborsClassifier(metric="cosine", weights="distance")`;
      if any neighbor is at distance 0, those at distance 0 share the vote and the others have none.
    - `softmax`: :math:`\exp(s / T)`, the weighted k-NN classifier of Wu et al. 2018, arXiv:1805.01978.

    All are then divided by their sum over the `k` in use, not over all neighbors given, so that a threshold on a
    score means the same at every `k`.

    Args:
        similarities: Cosine similarities, nearest first, (n_queries, k_max), in [-1, 1]; NaN where no neighbor.
        k: How many neighbors vote, 1 <= k <= k_max.
        weights: The rule.
        temperature: T above, > 0; used by `softmax` only.

    Returns:
        Shape (n_queries, k), each row summing to 1, missing neighbors 0. A query without neighbors has a row of 0.

    Raises:
        InputError: If `k`, `weights` or `temperature` is out of range.
    """
    _check_k(k, similarities.shape[1])
    raw = _raw_weights(similarities[:, :k], weights, temperature)
    total = raw.sum(axis=1, keepdims=True)
    return np.divide(raw, total, out=np.zeros_like(raw), where=total > 0)


@dataclass(frozen=True, slots=True, eq=False)
class LabelSets:
    """Classes of references; those with the same set of classes vote alike, and sets are few.

    Attributes:
        table: Classes of the references, bool (n_references, n_classes).
        sets: Distinct rows of it as numbers, float64 (n_sets, n_classes), at least one.
        set_of: Which of them each reference has, int64 (n_references,).
        only: Where each set is of one class and each class of one set, the set of each class; else None.
    """

    table: NDArray[np.bool_]
    sets: NDArray[np.float64]
    set_of: NDArray[np.int64]
    only: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, table: NDArray[np.bool_]) -> Self:
        """Find the sets, for any number of votes."""
        if not len(table):
            return cls(table, np.zeros((1, table.shape[1])), np.empty(0, dtype=np.int64))
        # a row of booleans as few numbers is sorted much faster; a table of grades is taken as it is
        _, first, number = np.unique(
            _as_numbers(table) if table.dtype == np.bool_ else table, axis=0, return_index=True, return_inverse=True
        )
        order = np.lexsort(table[first].T[::-1])
        sets, set_of = table[first[order]].astype(np.float64), np.argsort(order)[number.reshape(-1)]
        single = ((sets > 0).sum(axis=0) == 1).all() and ((sets == 1).sum(axis=1) == 1).all()
        single = single and sets.sum() == len(sets) == sets.shape[1]
        return cls(table, sets, set_of, sets.argmax(axis=0) if single else None)

    def carried(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the weight of each set, (n, n_sets), to that of each class, (n, n_classes)."""
        return weights @ self.sets if self.only is None else weights[:, self.only]


def _as_numbers(table: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Eight classes to a byte and eight bytes to a number, (n,) or (n, n_numbers)."""
    bits = np.packbits(table, axis=1)
    packed = np.zeros((len(table), -(-max(bits.shape[1], 1) // 8) * 8), dtype=np.uint8)
    packed[:, : bits.shape[1]] = bits
    numbers = packed.view(np.uint64)
    return numbers[:, 0] if numbers.shape[1] == 1 else numbers


def votes(
    neighbors: Neighbors,
    labels: NDArray[np.bool_] | LabelSets,
    *,
    ks: Sequence[int],
    weights: Weights = "uniform",
    temperature: float = DEFAULT_TEMPERATURE,
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Class scores at several k from one search: each k is a prefix of the next, and votes are running sums.

    Args:
        neighbors: Of n_queries queries, at least max(ks) wide.
        labels: Classes of the references, bool (n_references, n_classes), or their sets.
        ks: Ascending, distinct.
        weights: As `neighbor_weights`.
        temperature: As `neighbor_weights`.

    Yields:
        Slices of the queries in order, and their scores as `vote` gives them, (len(ks), rows, n_classes). A few
        thousand queries come at a time, so that no array of all queries, neighbors and classes is made.

    Raises:
        InputError: If `ks` is empty, not ascending or outside 1..k_max, or as `neighbor_weights`.
    """
    if not ks or any(low >= high for low, high in itertools.pairwise(ks)):
        message = f"ks = {list(ks)}: ascending, distinct numbers needed"
        raise InputError(message)
    _check_k(ks[0], neighbors.k)
    _check_k(ks[-1], neighbors.k)
    _raw_weights(neighbors.similarities[:0], weights, temperature)
    known = labels if isinstance(labels, LabelSets) else LabelSets.of(labels)
    set_of = known.set_of
    n_sets, n_classes = known.sets.shape
    for low in range(0, len(neighbors.indices), _ROWS_AT_ONCE):
        rows = slice(low, min(low + _ROWS_AT_ONCE, len(neighbors.indices)))
        n_rows = rows.stop - rows.start
        indices = neighbors.indices[rows, : ks[-1]]
        raw = _raw_weights(neighbors.similarities[rows, : ks[-1]], weights, temperature)
        raw[indices < 0] = 0.0
        places = set_of[indices] if len(set_of) else np.zeros_like(indices)
        places += np.arange(n_rows)[:, None] * n_sets
        scores = np.empty((len(ks), n_rows, n_classes))
        running, total, start = np.zeros(n_rows * n_sets), np.zeros(n_rows), 0
        for step, k in enumerate(ks):
            part = raw[:, start:k]
            running += np.bincount(places[:, start:k].ravel(), weights=part.ravel(), minlength=len(running))
            total += part.sum(axis=1)
            carried = known.carried(running.reshape(n_rows, n_sets))
            scores[step] = np.divide(carried, total[:, None], out=np.zeros_like(carried), where=total[:, None] > 0)
            start = k
        yield rows, np.minimum(scores, 1.0, out=scores)


def vote(
    neighbors: Neighbors,
    labels: NDArray[np.bool_],
    *,
    k: int,
    weights: Weights = "uniform",
    temperature: float = DEFAULT_TEMPERATURE,
) -> NDArray[np.float64]:
    """Score every class for every query by a weighted vote of its `k` nearest references.

    A score is the share of the weight that carries the class: 0 when no neighbor has it, 1 when all have it. A
    protein can be in several places, so the scores of one query need not sum to 1; references without any class
    (better left out of the search) take their share and carry nothing.

    Args:
        neighbors: Of n_queries queries, at least `k` wide; indices are rows of `labels`.
        labels: Classes of the references, bool (n_references, n_classes).
        k: How many neighbors vote, 1 <= k <= neighbors.k. Missing ones carry no weight.
        weights: As `neighbor_weights`.
        temperature: As `neighbor_weights`.

    Returns:
        Scores in [0, 1], float64 (n_queries, n_classes). A query without any neighbor scores 0 for every class.

    Raises:
        InputError: If `k`, `weights` or `temperature` is out of range.

    Example:
        Two neighbors, equally near; one is nuclear, both are cytosolic.

        >>> near = Neighbors(np.array([[0, 1]]), np.array([[0.5, 0.5]], dtype=np.float32))
        >>> vote(near, np.array([[True, True], [False, True]]), k=2).tolist()
        [[0.5, 1.0]]
    """
    scores = np.zeros((len(neighbors.indices), labels.shape[1]))
    _check_k(k, neighbors.k)
    for rows, part in votes(neighbors, labels, ks=[k], weights=weights, temperature=temperature):
        scores[rows] = part[0]
    return scores


def predict_single(
    scores: NDArray[np.float64], neighbors: Neighbors, labels: NDArray[np.bool_], *, k: int, ties: Ties = "nearest"
) -> NDArray[np.int64]:
    """The one class with the highest score.

    Args:
        scores: As `vote` gives them for the same neighbors and `k`, (n_queries, n_classes).
        neighbors: Of the same queries.
        labels: Classes of the references, bool (n_references, n_classes).
        k: Neighbors that voted.
        ties: Among the classes with exactly the highest score: `nearest` takes the one whose nearest member is
            closest (if that member has several of them, the first in class order), `first` the first in class
            order, as scikit-learn does. The latter favours classes by their name.

    Returns:
        Class numbers, int64 (n_queries,); -1 where every score is 0.

    Raises:
        InputError: If `ties` is unknown.
    """
    if ties not in get_args(Ties):
        message = f"ties = {ties!r}: one of {', '.join(get_args(Ties))} needed"
        raise InputError(message)
    if scores.shape[1] == 0:
        return np.full(len(scores), -1, dtype=np.int64)
    top = scores.max(axis=1, keepdims=True)
    predicted = np.where(top[:, 0] > 0, scores.argmax(axis=1), -1).astype(np.int64)
    if ties == "nearest":
        tied = (scores == top) & (top > 0)
        rows = np.flatnonzero(tied.sum(axis=1) > 1)
        indices = neighbors.indices[rows, :k]
        for low in range(0, len(rows), 256):
            some, near = rows[low : low + 256], indices[low : low + 256]
            members = labels[near] & (near >= 0)[:, :, None] & tied[some][:, None, :]
            first = members.any(axis=2).argmax(axis=1)
            predicted[some] = members[np.arange(len(some)), first].argmax(axis=1)
    return predicted


def predict_multi(
    scores: NDArray[np.float64], *, threshold: float = 0.5, top_if_none: bool = False
) -> NDArray[np.bool_]:
    """The set of classes whose score reaches the threshold.

    Args:
        scores: Shape (n_queries, n_classes), in [0, 1].
        threshold: 0 < threshold <= 1; a score equal to it counts.
        top_if_none: Where no class reaches it, take those with the highest score, if that is above 0.

    Returns:
        bool (n_queries, n_classes).

    Raises:
        InputError: If `threshold` is out of range.
    """
    if not 0 < threshold <= 1:
        message = f"threshold = {threshold!r}: above 0 and at most 1 needed"
        raise InputError(message)
    chosen = scores >= threshold
    if top_if_none and scores.shape[1]:
        top = scores.max(axis=1, keepdims=True)
        chosen |= (scores == top) & (top > 0) & ~chosen.any(axis=1, keepdims=True)
    return chosen
