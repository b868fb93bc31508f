"""F1 of two encoders on the same rows, with intervals of the difference from the same draws of groups. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.scores.bootstrap import DEFAULT_REPLICATES, Statistic, replicate_statistics
from locatlas.query.scores.metrics import Counts, f1, macro_f1

__all__ = ["Difference", "PairedScores", "mean_interval", "paired_scores"]

_TAILS = (0.025, 0.975)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A score by two encoders.

    Attributes:
        new: By the new one.
        old: By the old one.
        ci95: 95 % interval of new - old; None where there are too few groups.
        support: Rows that have the class; all rows, for a mean over classes.
        n_groups: Groups of these.
    """

    new: float
    old: float
    ci95: tuple[float, float] | None
    support: int
    n_groups: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the difference."""
        return {
            "new": self.new,
            "old": self.old,
            "difference": self.new - self.old,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "support": self.support,
            "n_groups": self.n_groups,
        }


@dataclass(frozen=True, slots=True, eq=False)
class PairedScores:
    """Scores of two encoders on the same rows.

    Attributes:
        macro_f1: Over the classes present in the targets.
        per_class_f1: By class; the classes present.
    """

    macro_f1: Difference
    per_class_f1: dict[str, Difference]


def paired_scores(
    targets: NDArray[np.bool_],
    new: NDArray[np.bool_],
    old: NDArray[np.bool_],
    groups: NDArray[np.int64],
    classes: tuple[str, ...],
    *,
    n_replicates: int = DEFAULT_REPLICATES,
    seed: int = 0,
) -> PairedScores:
    """Score two encoders; groups are drawn once for both, so that what is hard for both cancels in the difference.

    Args:
        targets: Classes of the rows, bool (n, n_classes).
        new: Predicted by the new encoder, the same shape.
        old: By the old one.
        groups: Group of each row, 0 <= group < n_groups, every number used, int64 (n,).
        classes: Names of the classes.
        n_replicates: At least 1.
        seed: Of the draws.
    """
    n_groups = int(groups.max(initial=-1)) + 1
    each = [Counts.by_group(targets, predicted, groups, n_groups) for predicted in (new, old)]
    counts = Counts(*(np.stack([getattr(one, name) for one in each], axis=1) for name in ("tp", "fp", "fn")))
    pooled = counts.summed()
    macro, of_class = macro_f1(pooled), f1(pooled)
    support = pooled.support[0]
    n_with = (each[0].support > 0).sum(axis=0)
    present = [place for place in range(len(classes)) if support[place]]
    drawn = replicate_statistics(
        counts, {"macro_f1": macro_f1}, n_replicates=n_replicates, seed=seed, fixed_classes=True
    )
    of_classes = replicate_statistics(
        counts, {classes[place]: _of_class(place) for place in present}, n_replicates=n_replicates, seed=seed
    )
    return PairedScores(
        macro_f1=Difference(
            new=float(macro[0]),
            old=float(macro[1]),
            ci95=_interval(None if drawn is None else drawn["macro_f1"]),
            support=len(targets),
            n_groups=n_groups,
        ),
        per_class_f1={
            classes[place]: Difference(
                new=float(of_class[0, place]),
                old=float(of_class[1, place]),
                ci95=_interval(None if of_classes is None or n_with[place] < 2 else of_classes[classes[place]]),
                support=int(support[place]),
                n_groups=int(n_with[place]),
            )
            for place in present
        },
    )


def _of_class(place: int) -> Statistic:
    """F1 of one class, NaN in a replicate that draws no row of it."""

    def statistic(counts: Counts) -> NDArray[np.float64]:
        one = Counts(counts.tp[..., place], counts.fp[..., place], counts.fn[..., place])
        return np.where(one.support > 0, f1(one), np.nan)

    return statistic


def _interval(drawn: NDArray[np.float64] | None) -> tuple[float, float] | None:
    """Percentiles of the difference over the replicates in which there is one."""
    if drawn is None:
        return None
    differences = drawn[:, 0] - drawn[:, 1]
    known = differences[~np.isnan(differences)]
    if not len(known):
        return None
    low, high = np.quantile(known, _TAILS)
    return float(low), float(high)


def mean_interval(
    common: NDArray[np.int64],
    k: int,
    groups: NDArray[np.int64],
    *,
    n_replicates: int = DEFAULT_REPLICATES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """95 % interval over groups of the mean share of common neighbors; None with fewer than two groups.

    Args:
        common: Common neighbors of each row, 0 <= common <= k, int64 (n,).
        k: Neighbors that were compared.
        groups: As `paired_scores`.
        n_replicates: At least 1.
        seed: Of the draws.
    """
    n_groups = int(groups.max(initial=-1)) + 1
    hits = np.bincount(groups, weights=common, minlength=n_groups).astype(np.int64)
    in_all = np.bincount(groups, minlength=n_groups) * k
    counts = Counts(hits[:, None, None], np.zeros((n_groups, 1, 1), dtype=np.int64), (in_all - hits)[:, None, None])
    drawn = replicate_statistics(counts, {"overlap": _share}, n_replicates=n_replicates, seed=seed)
    if drawn is None:
        return None
    low, high = np.quantile(drawn["overlap"][:, 0], _TAILS)
    return float(low), float(high)


def _share(counts: Counts) -> NDArray[np.float64]:
    return counts.tp[..., 0] / counts.support[..., 0]
