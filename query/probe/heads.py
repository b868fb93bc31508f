"""Heads trained on frozen vectors, in grouped folds and at fractions of the groups, and their scores. No I/O."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.models.training.fit_head import FittedHead, HeadPlan, fit_head
from locatlas.query.answers.vote import predict_multi
from locatlas.query.probe.parts import Parts, check_fractions, parts_of_fold
from locatlas.query.probe.result import ProbePoint, ProbeResult
from locatlas.query.probe.scoring import score_seeds
from locatlas.query.scores.bootstrap import DEFAULT_REPLICATES
from locatlas.query.scores.protocols import grouped_folds, lone_labels
from locatlas.query.search.exclude import encode_names
from locatlas.query.sweep.rows import Rows, choose_rows

__all__ = ["DEFAULT_VALIDATION", "probe"]

DEFAULT_VALIDATION = 0.2
"""Share of the training part's groups by which training is stopped."""

Progress = Callable[[str, int, int], None]


def probe(
    vectors: NDArray[Any],
    labels: Sequence[Collection[str] | None],
    groups: Sequence[str | None],
    ids: Sequence[str],
    *,
    plan: HeadPlan,
    group: str = "group",
    folds: int = 5,
    fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0, 1, 2),
    validation: float = DEFAULT_VALIDATION,
    n_bootstrap: int = DEFAULT_REPLICATES,
    scored: NDArray[np.bool_] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ProbeResult:
    """Train heads on vectors that stay as they are, and score them on groups that they never saw.

    For each seed the groups are dealt into folds (`protocols.grouped_folds`). For each fold, a head is trained on a
    fraction of the groups outside it and predicts the rows inside. Scale, classes, balance and end of the training come
    from rows outside the fold alone. The result does not depend on the order of the rows.

    Args:
        vectors: Shape (n, d).
        labels: Localizations of each row, a set; empty or None where not annotated.
        groups: What must not be split, for each row; None has none.
        ids: Distinct names of the rows.
        plan: The head and its training; its `labels` say which rows take part.
        group: What the groups are, for the record.
        folds: Number of folds.
        fractions: Of the groups outside the fold, in (0, 1].
        seeds: Repeats, each with other folds.
        validation: Share of the groups outside the fold that stop the training, in (0, 1).
        n_bootstrap: Bootstrap replicates over groups; 0 for no intervals.
        scored: bool (n,), the rows whose predictions are scored; all take part in training. None scores all.
        device: Where heads are trained.
        progress: Told how many heads are trained.

    Returns:
        The scores. Left out and counted: rows without label (and with several, for `single`), without group, and with
        a zero vector.

    Raises:
        InputError: If lengths differ, ids repeat, an option is out of range, or nothing can be scored.
        TrainingStoppedError: If a head's training diverges.
    """
    of_groups, repeats = check_fractions(fractions), tuple(dict.fromkeys(int(seed) for seed in seeds))
    if not repeats:
        message = "no seeds: at least one needed"
        raise InputError(message)
    rows = choose_rows(vectors, labels, groups, ids, plan.labels, {})
    looked_at = _scored(rows, scored, len(labels))
    predicted, fits, alone = _fold_by_fold(rows, plan, folds, of_groups, repeats, validation, device, progress)
    group_of = encode_names([rows.groups[row] for row in looked_at.tolist()])[0]
    points = []
    for fraction, of_seeds, heads in zip(of_groups, predicted[:, :, looked_at], fits, strict=True):
        found, f1 = score_seeds(rows.table[looked_at], of_seeds, group_of, n_bootstrap=n_bootstrap, seed=repeats[0])
        points.append(
            ProbePoint(
                fraction=fraction,
                scores=found,
                per_class_f1=f1,
                sizes=_sizes(rows.groups, [parts for parts, _ in heads]),
                steps=tuple(head.step for _, head in heads),
                predicted=of_seeds,
            )
        )
    return ProbeResult(
        group=group,
        labels=plan.labels,
        n=len(looked_at),
        n_rows=len(rows.ids),
        n_groups=int(group_of.max()) + 1,
        folds=folds,
        seeds=repeats,
        classes=rows.classes,
        support=rows.table[looked_at].sum(axis=0),
        points=tuple(points),
        head=plan.to_dict(),
        left_out=rows.left_out,
        lone_labels={name: int(n) for name, n in zip(rows.classes, alone, strict=True) if n},
        settings={"validation": validation, "bootstrap_replicates": n_bootstrap},
        ids=tuple(rows.ids[row] for row in looked_at.tolist()),
    )


def _scored(rows: Rows, scored: NDArray[np.bool_] | None, n: int) -> NDArray[np.int64]:
    """Rows, of those that take part, whose predictions are scored.

    Raises:
        InputError: If there are none, or lengths differ.
    """
    if scored is None:
        return np.arange(len(rows.ids))
    if scored.shape != (n,):
        message = f"scored of shape {scored.shape} for {n} rows: one a row needed"
        raise InputError(message)
    found = np.flatnonzero(scored[rows.chosen])
    if not len(found):
        message = f"nothing to score: none of the {len(rows.ids)} rows that take part is among the scored ones"
        raise InputError(message)
    return found


def _fold_by_fold(
    rows: Rows,
    plan: HeadPlan,
    folds: int,
    fractions: Sequence[float],
    seeds: Sequence[int],
    validation: float,
    device: str,
    progress: Progress | None,
) -> tuple[NDArray[np.bool_], list[list[tuple[Parts, FittedHead]]], NDArray[np.int64]]:
    """Train a head for each seed, fold and fraction, and predict the rows of its fold.

    Returns:
        Predicted classes, bool (n_fractions, n_seeds, n, n_classes); the heads of each fraction, with their parts; and
        rows per class that no row outside their fold shares, the most over the seeds.
    """
    predicted = np.zeros((len(fractions), len(seeds), *rows.table.shape), dtype=np.bool_)
    fits: list[list[tuple[Parts, FittedHead]]] = [[] for _ in fractions]
    alone = np.zeros(len(rows.classes), dtype=np.int64)
    for place, seed in enumerate(seeds):
        fold_of = grouped_folds(rows.groups, folds=folds, seed=seed, table=rows.table)
        alone = np.maximum(alone, lone_labels(rows.table, fold_of))
        for fold in range(folds):
            split = parts_of_fold(rows.groups, rows.table, fold_of == fold, fractions, share=validation, seed=seed)
            for step, parts in enumerate(split):
                train, stop = ((rows.prepared.raw(part), rows.table[part]) for part in (parts.train, parts.validation))
                head = fit_head(*train, plan, validation=stop, seed=seed, device=device)
                predicted[step, place, parts.test] = _predicted(head.scores(rows.prepared.raw(parts.test)), plan)
                fits[step].append((parts, head))
                if progress is not None:
                    progress("heads", sum(map(len, fits)), len(fractions) * len(seeds) * folds)
    return predicted, fits, alone


def _predicted(scores: NDArray[np.float64], plan: HeadPlan) -> NDArray[np.bool_]:
    """Predicted classes as a table, bool (n, n_classes)."""
    if plan.labels == "single":
        return scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])
    return predict_multi(scores, threshold=plan.threshold, top_if_none=True)


def _sizes(groups: Sequence[str], fits: Sequence[Parts]) -> dict[str, float]:
    """Means over heads of the numbers of rows and groups that trained and validated."""

    def mean(count: Callable[[Parts], int]) -> float:
        return float(np.mean([count(parts) for parts in fits]))

    def n_groups(rows: NDArray[np.int64]) -> int:
        return len({groups[row] for row in rows.tolist()})

    return {
        "n_train": mean(lambda parts: len(parts.train)),
        "n_train_groups": mean(lambda parts: n_groups(parts.train)),
        "n_validation": mean(lambda parts: len(parts.validation)),
        "n_validation_groups": mean(lambda parts: n_groups(parts.validation)),
    }
