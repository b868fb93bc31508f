"""k-NN localization at every neighborhood size: one search at max(k), every k a prefix. Pure."""

import itertools
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.answers.aggregate import DEFAULT_TOP, How, check_how, join_groups
from locatlas.query.answers.aggregate import DEFINITIONS as AGGREGATES
from locatlas.query.answers.vote import DEFAULT_TEMPERATURE, Ties, Weights
from locatlas.query.scores.bootstrap import DEFAULT_REPLICATES
from locatlas.query.scores.metrics import DEFINITIONS
from locatlas.query.scores.protocols import LabelMode, grouped_folds, lone_labels
from locatlas.query.search.exact import Tally
from locatlas.query.search.exclude import encode_names
from locatlas.query.sweep.result import KResult, SweepResult
from locatlas.query.sweep.rows import Units, asking_rows, choose_rows, choose_units
from locatlas.query.sweep.scoring import Evaluation, score
from locatlas.query.sweep.search import Asked, search_and_vote
from locatlas.query.sweep.votes import VoteRule

__all__ = ["DEFAULT_KS", "PROTOCOLS", "Protocol", "SweepResult", "sweep"]

Protocol = Literal["leave-group-out", "kfold"]
DEFAULT_KS = (1, 3, 5, 10, 20, 50, 100, 200)
"""Neighborhood sizes of a sweep where none are named."""

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


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
    queries: Sequence[bool] | NDArray[np.bool_] | None = None,
    n_bootstrap: int = DEFAULT_REPLICATES,
    keep_predictions: bool | Collection[int] = False,
    device: str = "cpu",
    units: Sequence[str | None] | None = None,
    by: str = "unit",
    how: How = "mean",
    top: float = DEFAULT_TOP,
) -> SweepResult:
    """Score k-NN localization at every k.

    Each row is a query once, or each of `queries`, and then the others only vote. `leave-group-out` searches all rows
    of other groups, `kfold` all rows of other folds, no group being split over folds. Either way a query never meets
    itself or its group. The result does not depend on the order of the rows.

    With `units` the rows are searched in the same way, the votes of the rows of a unit are aggregated, and the scores
    are those of the units. Where a unit has rows of several groups, these groups make one for folds and bootstrap.

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
        queries: Whether each row is asked and scored (rows not seen in training); None for all. Units are scored if all
            of their rows are asked. Folds are those of all rows.
        n_bootstrap: Bootstrap replicates over groups; 0 for no intervals.
        keep_predictions: Keep what was predicted for each row, its scores and its annotation: at every k, or at those
            named.
        device: Where the search's products run ("cpu", "cuda"); the result is the same.
        units: What rows are put together to, one name a row (a field, a protein); None evaluates rows.
        by: What the units are, for the record.
        how: How the votes of a unit's rows are aggregated (`aggregate.aggregate`).
        top: Share of the most confident rows, with `top`.

    Returns:
        The scores. Left out and counted: rows without label (and with several, for `single`), without group, and
        with a zero vector; with units also rows without one, and units whose rows have different labels.

    Raises:
        InputError: If lengths differ, ids repeat, an option is unknown, nothing can be evaluated, or a k exceeds
            the references that some query may meet.
    """
    asked = None if ks is None else sorted(_checked_ks(ks))
    further = dict(exclude or {})
    check_how(how, top)
    rows = choose_rows(vectors, labels, groups, ids, labels_mode, further)
    if protocol not in PROTOCOLS:
        message = f"protocol {protocol!r}: one of {', '.join(PROTOCOLS)} needed"
        raise InputError(message)
    asking = asking_rows(rows, queries, len(ids))
    put = None if units is None else choose_units(rows, labels, units, by=by)
    group_of = encode_names(rows.groups)[0]
    together = group_of if put is None else join_groups(group_of, put.of_row)
    if protocol == "kfold":
        names = [rows.groups[row] for row in np.unique(group_of, return_index=True)[1]]
        fold_of = grouped_folds([names[code] for code in together], folds=folds, seed=seed, table=rows.table)
    blocks = fold_of if protocol == "kfold" else group_of
    sizes = asked or _fitting_ks(blocks, asking)
    put = put if put is None else put.asked(asking, by=by)
    tally = Tally()
    evaluation = _evaluation(
        rows.table[asking],
        put,
        together[asking],
        fold_of[asking] if protocol == "kfold" else None,
        single=labels_mode == "single",
    )
    rule = VoteRule(
        mode=labels_mode,
        temperature=temperature,
        threshold=threshold,
        top_if_none=top_if_none,
        ties=ties,
        how=how,
        top=top,
    )
    keep = keep_predictions if isinstance(keep_predictions, Collection) else sizes if keep_predictions else ()
    kinds = (weights,) if isinstance(weights, str) else tuple(dict.fromkeys(weights))
    asked_for = Asked(
        asking=asking,
        blocks=blocks,
        block="fold" if protocol == "kfold" else group,
        groups=group_of,
        together=together,
        further=further,
        units=put,
    )
    voted = search_and_vote(rows, asked_for, sizes, kinds, rule, keep=keep, device=device, tally=tally)
    results: list[KResult] = []
    for kind in kinds:
        predicted, kept = voted.pop(kind)
        results += score(evaluation, predicted, sizes, kind, n_bootstrap=n_bootstrap, seed=seed, kept=kept)
    alone = lone_labels(rows.table, blocks, asking)
    return SweepResult(
        protocol=protocol,
        group=group,
        labels=labels_mode,
        n=len(evaluation.table),
        n_groups=int(evaluation.groups.max()) + 1,
        folds=folds if protocol == "kfold" else None,
        seed=seed,
        classes=rows.classes,
        results=tuple(results),
        left_out=rows.left_out | (put.left_out if put else {}),
        lone_labels={name: int(n) for name, n in zip(rows.classes, alone, strict=True) if n},
        excluded=("id", *further),
        settings=rule.settings(of_units=put is not None) | {"bootstrap_replicates": n_bootstrap},
        definitions=_definitions(how if put else None),
        ids=put.names if put else tuple(itertools.compress(rows.ids, asking)),
        by=by if put else None,
        n_rows=len(rows.ids),
        n_queries=int(asking.sum()),
        targets=evaluation.table if keep else None,
        products=tally.as_dict(),
    )


def _fitting_ks(blocks: NDArray[np.int64], asking: NDArray[np.bool_]) -> list[int]:
    """The default sizes for which every query has references enough; at least the smallest, which is then refused."""
    most = len(blocks) - int(np.bincount(blocks)[blocks[asking]].max())
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


def _evaluation(
    table: NDArray[np.bool_],
    units: Units | None,
    together: NDArray[np.int64],
    folds: NDArray[np.int64] | None,
    *,
    single: bool,
) -> Evaluation:
    """What is evaluated: the asked rows, or units with the group and fold that all their rows have."""
    if units is not None:
        a_row = np.empty(len(units.names), dtype=np.int64)
        a_row[units.of_row[units.of_row >= 0]] = np.flatnonzero(units.of_row >= 0)
        table, together, folds = units.table, together[a_row], None if folds is None else folds[a_row]
    _, groups = np.unique(together, return_inverse=True)
    return Evaluation(table, groups.reshape(-1), folds, single=single)


def _definitions(how: How | None) -> dict[str, str]:
    """What the numbers mean, in words that can be quoted; `how` the votes of units are aggregated, if they are."""
    said = DEFINITIONS | {
        "k": "number of neighbors that vote, from one search at the largest k; cosine similarity",
        "scores": "from the counts of all rows, pooled over folds before F1 is taken (Forman and Scholz 2010)",
        "macro_f1_folds": "macro F1 of each fold over the classes present in it; macro_f1_sd is their sample standard "
        "deviation (n - 1), null for leave-group-out",
        "macro_f1_ci95": "95 % percentile bootstrap over groups as queries, the references being kept, over the same "
        "classes as the score (a class that a replicate does not draw keeps its counts); too narrow where a class has "
        "few groups; null with fewer than two groups",
        "n_queries": "rows that are scored, of n_rows that vote on each other (own group apart); fewer where rows that "
        "were seen in training only vote",
        "products": "how many queries were searched by matrix products of bfloat16 numbers, whose result was proven to "
        "be the exact one, and how many by products of float32 numbers, among them those that the first could not "
        "prove; the neighbors are the same. Narrow numbers are for long searches on processors that have them",
        "lone_labels": "rows whose class no reference outside their group or fold has; evaluated, and always wrong",
    }
    if how is not None:
        said["units"] = (
            f"each row is searched and voted on by itself; the score of a unit is the {AGGREGATES[how]}; its label is "
            "the one that all its labelled rows share; groups that share a unit are one for folds and bootstrap"
        )
    return said
