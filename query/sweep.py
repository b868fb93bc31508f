"""k-NN localization at every neighborhood size: one search at max(k), every k a prefix. Pure."""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query import exact
from locatlas.query.bootstrap import DEFAULT_REPLICATES
from locatlas.query.exclude import encode_names
from locatlas.query.metrics import DEFINITIONS
from locatlas.query.protocols import LabelMode, encode_labels, grouped_folds, hashed_order, lone_labels
from locatlas.query.scoring import Evaluation, score
from locatlas.query.sweep_result import KResult, SweepResult
from locatlas.query.unit import check_vectors, norms
from locatlas.query.vote import DEFAULT_TEMPERATURE, Ties, Weights, predict_multi, predict_single, votes
from locatlas.types import Neighbors

__all__ = ["DEFAULT_KS", "PROTOCOLS", "Protocol", "SweepResult", "sweep"]

Protocol = Literal["leave-group-out", "kfold"]
DEFAULT_KS = (1, 3, 5, 10, 20, 50, 100, 200)
"""Neighborhood sizes of a sweep where none are named."""

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The rows that are evaluated, in hashed order of their ids, so that no tie follows their names."""

    vectors: NDArray[np.float32]
    table: NDArray[np.bool_]
    classes: tuple[str, ...]
    groups: list[str]
    ids: list[str]
    chosen: list[int]  # their places in the arguments
    left_out: dict[str, int]


def sweep(
    vectors: NDArray[Any],
    labels: Sequence[Collection[str] | None],
    groups: Sequence[str | None],
    ids: Sequence[str],
    *,
    ks: Sequence[int] | None = None,
    protocol: Protocol = "leave-group-out",
    group: str = "group",
    folds: int = 5,
    seed: int = 0,
    weights: Weights | Sequence[Weights] = "uniform",
    labels_mode: LabelMode = "single",
    temperature: float = DEFAULT_TEMPERATURE,
    threshold: float = 0.5,
    top_if_none: bool = True,
    ties: Ties = "nearest",
    exclude: Mapping[str, Sequence[Hashable | None]] | None = None,
    n_bootstrap: int = DEFAULT_REPLICATES,
    keep_predictions: bool = False,
    device: str = "cpu",
) -> SweepResult:
    """Score k-NN localization at every k.

    Each row is a query once. `leave-group-out` searches all rows of other groups, `kfold` all rows of other folds, no
    group being split over folds. Either way a query never meets itself or its group. The result does not depend on
    the order of the rows.

    Args:
        vectors: Shape (n, d), not normalised; similarity is the cosine.
        labels: Localizations of each row, a set; empty or None where not annotated.
        groups: What must not be its own neighbor, for each row (protein; FOV for a split by FOV); None has none.
        ids: Distinct names of the rows.
        ks: Neighborhood sizes, any order; None for those of `DEFAULT_KS` for which there are references enough.
        protocol: As above.
        group: What the groups are, for the record.
        folds: Number of folds, with `kfold`.
        seed: Of the folds and the bootstrap.
        weights: One or several rules of voting (`vote.neighbor_weights`).
        labels_mode: `single` evaluates rows with exactly one localization, `multi` all annotated rows.
        temperature: Of `softmax`.
        threshold: Multi-label: a class is predicted from this score on, in (0, 1].
        top_if_none: Multi-label: where no class reaches the threshold, predict the best one.
        ties: Single-label: `nearest` or `first` (`vote.predict_single`).
        exclude: Further names by kind, one a row, whose equals never meet, e.g. {"fov": [...]}; None meets all.
        n_bootstrap: Bootstrap replicates over groups; 0 for no intervals.
        keep_predictions: Keep what was predicted for each row.
        device: Where the search's products run ("cpu", "cuda"); the result is the same.

    Returns:
        The scores. Left out and counted: rows without label (and with several, for `single`), without group, and
        with a zero vector.

    Raises:
        InputError: If lengths differ, ids repeat, an option is unknown, nothing can be evaluated, or a k exceeds
            the references that some query may meet.
    """
    asked = None if ks is None else sorted(_checked_ks(ks))
    rules = (weights,) if isinstance(weights, str) else tuple(dict.fromkeys(weights))
    further = dict(exclude or {})
    rows = _rows(vectors, labels, groups, ids, labels_mode, further)
    if protocol not in PROTOCOLS:
        message = f"protocol {protocol!r}: one of {', '.join(PROTOCOLS)} needed"
        raise InputError(message)
    if protocol == "kfold":
        fold_of = grouped_folds(rows.groups, folds=folds, seed=seed, table=rows.table)
    group_of = encode_names(rows.groups)[0]
    blocks = fold_of if protocol == "kfold" else group_of
    sizes = asked or _fitting_ks(blocks)
    neighbors = _neighbors(rows, blocks, further, sizes[-1], "fold" if protocol == "kfold" else group, device)
    evaluation = Evaluation(
        rows.table, group_of, fold_of if protocol == "kfold" else None, single=labels_mode == "single"
    )
    results: list[KResult] = []
    for rule in rules:
        predicted = _predictions(
            neighbors, rows.table, sizes, rule, temperature, labels_mode, threshold, ties, top_if_none=top_if_none
        )
        results += score(
            evaluation, predicted, sizes, rule, n_bootstrap=n_bootstrap, seed=seed, keep_predictions=keep_predictions
        )
    alone = lone_labels(rows.table, blocks)
    settings: dict[str, Any] = {"temperature": temperature, "ties": ties, "bootstrap_replicates": n_bootstrap}
    if labels_mode == "multi":
        settings |= {"threshold": threshold, "top_if_none": top_if_none}
    return SweepResult(
        protocol=protocol,
        group=group,
        labels=labels_mode,
        n=len(rows.ids),
        n_groups=int(group_of.max()) + 1,
        folds=folds if protocol == "kfold" else None,
        seed=seed,
        classes=rows.classes,
        results=tuple(results),
        left_out=rows.left_out,
        lone_labels={name: int(n) for name, n in zip(rows.classes, alone, strict=True) if n},
        excluded=("id", *further),
        settings=settings,
        definitions=_definitions(),
        ids=tuple(rows.ids),
    )


def _fitting_ks(blocks: NDArray[np.int64]) -> list[int]:
    """The default sizes for which every query has references enough; at least the smallest, which is then refused."""
    most = len(blocks) - int(np.bincount(blocks).max())
    return [k for k in DEFAULT_KS if k <= most] or list(DEFAULT_KS[:1])


def _checked_ks(ks: Sequence[int]) -> set[int]:
    if (
        isinstance(ks, int)
        or not len(ks)
        or any(isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1 for k in ks)
    ):
        message = f"ks = {ks}: a list of whole numbers of at least 1 needed"
        raise InputError(message)
    return {int(k) for k in ks}


def _rows(
    vectors: NDArray[Any],
    labels: Sequence[Collection[str] | None],
    groups: Sequence[str | None],
    ids: Sequence[str],
    mode: LabelMode,
    further: Mapping[str, Sequence[Hashable | None]],
) -> _Rows:
    """Choose the rows to evaluate and put them in hashed order."""
    array = check_vectors(vectors, "vectors")
    lengths = {"labels": len(labels), "groups": len(groups), "ids": len(ids)}
    lengths |= {name: len(names) for name, names in further.items()}
    for name, length in lengths.items():
        if length != len(array):
            message = f"{length} {name} for {len(array)} vectors: one a vector needed"
            raise InputError(message)
    if len(set(ids)) != len(ids):
        message = f"id {Counter(ids).most_common(1)[0][0]!r} stands more than once"
        raise InputError(message)
    known = encode_labels(labels, mode)
    left_out = dict(known.left_out)
    usable = known.usable.copy()
    grouped = np.fromiter((bool(name) for name in groups), dtype=np.bool_, count=len(groups))
    for reason, fine in (("no group", grouped), ("zero vector", norms(array) > 0)):
        n_lost = int((usable & ~fine).sum())
        usable &= fine
        if n_lost:
            left_out[reason] = n_lost
    kept: list[int] = np.flatnonzero(usable).tolist()
    if not kept:
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "no rows"
        hint = "; labels 'multi' takes rows with several" if "several labels" in left_out else ""
        message = f"nothing to evaluate among {len(array)} rows: {reasons}{hint}"
        raise InputError(message)
    order: list[int] = hashed_order([ids[row] for row in kept]).tolist()
    chosen = [kept[place] for place in order]
    present: NDArray[np.bool_] = np.logical_or.reduce(known.table[chosen], axis=0)
    return _Rows(
        vectors=array[chosen],
        table=known.table[chosen][:, present],
        classes=tuple(name for name, there in zip(known.classes, present, strict=True) if there),
        groups=[str(groups[row]) for row in chosen],
        ids=[ids[row] for row in chosen],
        chosen=chosen,
        left_out=left_out,
    )


def _neighbors(
    rows: _Rows,
    blocks: NDArray[np.int64],
    further: Mapping[str, Sequence[Hashable | None]],
    k: int,
    block_name: str,
    device: str,
) -> Neighbors:
    """The k nearest of each row outside its block.

    Raises:
        InputError: If some row has fewer than `k` references.
    """
    n = len(rows.ids)
    sizes = np.bincount(blocks)
    largest = int(sizes.max())
    if k > n - largest:
        message = (
            f"k = {k} is too large: of n = {n} evaluated rows a query of the largest {block_name} ({largest} rows) "
            f"has {n - largest} references"
        )
        raise InputError(message)
    codes = [blocks, *(encode_names([names[row] for row in rows.chosen])[0] for names in further.values())]
    neighbors = exact.search_within(rows.vectors, k=k, exclude=codes, device=device)
    found = (neighbors.indices >= 0).sum(axis=1)
    if int(found.min()) < k:
        message = (
            f"k = {k} is too large: of n = {n} evaluated rows {rows.ids[int(found.argmin())]!r} may meet only "
            f"{int(found.min())}"
        )
        raise InputError(message)
    return neighbors


def _predictions(
    neighbors: Neighbors,
    table: NDArray[np.bool_],
    ks: list[int],
    weights: Weights,
    temperature: float,
    mode: LabelMode,
    threshold: float,
    ties: Ties,
    *,
    top_if_none: bool,
) -> NDArray[Any]:
    """Class numbers (n_ks, n), or bool (n_ks, n, n_classes) for multi-label."""
    n, n_classes = table.shape
    single = mode == "single"
    out = np.empty((len(ks), n), np.int64) if single else np.empty((len(ks), n, n_classes), np.bool_)
    for rows, scores in votes(neighbors, table, ks=ks, weights=weights, temperature=temperature):
        near = Neighbors(neighbors.indices[rows], neighbors.similarities[rows])
        for step, k in enumerate(ks):
            if single:
                out[step, rows] = predict_single(scores[step], near, table, k=k, ties=ties)
            else:
                out[step, rows] = predict_multi(scores[step], threshold=threshold, top_if_none=top_if_none)
    return out


def _definitions() -> dict[str, str]:
    """What the numbers mean, in words that can be quoted."""
    return DEFINITIONS | {
        "k": "number of neighbors that vote, from one search at the largest k; cosine similarity",
        "scores": "from the counts of all rows, pooled over folds before F1 is taken (Forman and Scholz 2010)",
        "macro_f1_folds": "macro F1 of each fold over the classes present in it; macro_f1_sd is their sample standard "
        "deviation (n - 1), null for leave-group-out",
        "macro_f1_ci95": "95 % percentile bootstrap over groups as queries, the references being kept, over the same "
        "classes as the score (a class that a replicate does not draw keeps its counts); too narrow where a class has "
        "few groups; null with fewer than two groups",
        "lone_labels": "rows whose class no reference outside their group or fold has; evaluated, and always wrong",
    }
