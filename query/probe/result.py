"""What heads on frozen vectors reach, with what the numbers mean. Pure but for `plot`, which writes a figure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.query.scores.metrics import DEFINITIONS as SCORES

__all__ = ["DEFINITIONS", "WHAT", "ProbePoint", "ProbeResult", "Spread"]

WHAT = "frozen backbone, trained head (what the paper calls zero-shot)"
"""arXiv:2604.10970 calls a backbone that was not adapted to the images zero-shot, though its head was trained."""

DEFINITIONS = SCORES | {
    "fraction": "share of the groups outside the test fold that a head is trained on and stopped by, of every class in "
    "proportion and at least one of each; a fraction contains every smaller one of the same seed and fold",
    "scores": "of each seed from the counts of all rows, each predicted once, by the head of the fold it is in; pooled "
    "over folds before F1 is taken (Forman and Scholz 2010)",
    "mean": "over the seeds; a seed decides the folds, the validation part, the fractions and the head's training",
    "sd": "sample standard deviation (n - 1) over the seeds; null with one. Seeds share the rows: it says how far the "
    "split and the training move the score, not how far other proteins would",
    "ci95": "95 % percentile bootstrap of the mean over the seeds, drawing groups; the heads are kept. Means over "
    "classes are over the same classes as the score (a class that a replicate does not draw keeps its counts); null "
    "with fewer than two groups",
    "per_class_f1": "2 TP / (2 TP + FP + FN) of all rows of a seed, mean over seeds; null for a class no target has",
    "predicted": "single: the class of the highest score; multi: the classes from the threshold on, and that of the "
    "highest score in any case. Classes without a training row are never predicted",
    "training": "vectors are standardized by the training rows; batches hold all classes equally often; training "
    "stops, and the weights are kept, by the macro F1 of validation groups that are in no other part",
    "lone_labels": "rows whose class no row outside their fold has, in the seed with most; evaluated, and always wrong",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """A score over several seeds.

    Attributes:
        seeds: Of each seed.
        ci95: Bounds of the mean over the seeds; None with too few groups or without bootstrap.
    """

    seeds: tuple[float, ...]
    ci95: tuple[float, float] | None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.seeds))

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over the seeds, None with one."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "mean": self.mean,
            "sd": self.sd,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "seeds": list(self.seeds),
        }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ProbePoint:
    """Scores at one fraction.

    Attributes:
        fraction: Of the training part's groups.
        scores: `macro_f1`, `micro_f1`, `accuracy` and `balanced_accuracy`.
        per_class_f1: Of each seed, (n_seeds, n_classes).
        sizes: Means over seeds and folds: rows and groups that trained and that validated.
        steps: Optimizer steps of the head that was kept, of each seed and fold.
        predicted: Predicted classes of each seed, bool (n_seeds, n, n_classes), rows as `ProbeResult.ids`.
    """

    fraction: float
    scores: Mapping[str, Spread]
    per_class_f1: NDArray[np.float64]
    sizes: Mapping[str, float]
    steps: tuple[int, ...]
    predicted: NDArray[np.bool_] = field(repr=False)

    def to_dict(self, classes: tuple[str, ...], support: NDArray[np.int64]) -> dict[str, Any]:
        """As JSON takes it."""
        of_class = zip(classes, self.per_class_f1.mean(axis=0), support, strict=True)
        return {
            "fraction": self.fraction,
            **{name: spread.to_dict() for name, spread in self.scores.items()},
            "per_class_f1": {name: float(value) if n else None for name, value, n in of_class},
            **self.sizes,
            "steps": {
                "median": float(np.median(self.steps)),
                "min": min(self.steps),
                "max": max(self.steps),
            },
        }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ProbeResult:
    """Scores of trained heads at each fraction of the groups.

    Attributes:
        group: What a group is, e.g. "protein".
        labels: `single` or `multi`.
        n: Rows that were scored.
        n_rows: Rows that took part: scored, or only trained on.
        n_groups: Groups of the rows that were scored.
        folds: Number of folds.
        seeds: As above.
        classes: Sorted by name.
        support: Scored rows of each class.
        points: One a fraction, ascending.
        head: How heads were trained.
        left_out: Rows that took no part, by reason.
        lone_labels: By class.
        settings: Share of the validation part, bootstrap.
        ids: Ids of the rows, in the order of `ProbePoint.predicted`.
        context: Where the vectors come from (level, encoder, ...), as `with_context` was told.
    """

    group: str
    labels: str
    n: int
    n_rows: int
    n_groups: int
    folds: int
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    support: NDArray[np.int64]
    points: tuple[ProbePoint, ...]
    head: Mapping[str, Any]
    left_out: Mapping[str, int]
    lone_labels: Mapping[str, int]
    settings: Mapping[str, Any]
    ids: tuple[str, ...] = field(repr=False)
    context: Mapping[str, Any] = field(default_factory=dict)

    def with_context(self, **context: Any) -> Self:
        """The same result that also says where its vectors come from; the keys appear in `to_dict`."""
        return replace(self, context={**self.context, **context})

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `locatlas probe --json`."""
        return {
            "what": WHAT,
            **self.context,
            "protocol": "kfold",
            "group": self.group,
            "labels": self.labels,
            "n": self.n,
            "n_rows": self.n_rows,
            "n_groups": self.n_groups,
            "folds": self.folds,
            "seeds": list(self.seeds),
            "classes": list(self.classes),
            "support": {name: int(n) for name, n in zip(self.classes, self.support, strict=True)},
            "results": [point.to_dict(self.classes, self.support) for point in self.points],
            "head": dict(self.head),
            "left_out": dict(self.left_out),
            "lone_labels": dict(self.lone_labels),
            "settings": dict(self.settings),
            "definitions": dict(DEFINITIONS),
        }

    def plot(self, path: str | Path) -> Path:
        """Draw macro F1 against the fraction; the suffix decides the format (.svg, .png, .pdf).

        Raises:
            InputError: If matplotlib is not installed or does not know the format.
        """
        from locatlas.query.probe.plot import plot_probe

        return plot_probe(self, Path(path))
