"""What a sweep over k found: scores at each k, with what they mean. Pure but for `plot`, which writes a figure."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.query.html_table import html_table
from locatlas.query.scores.metrics import Counts

__all__ = ["KResult", "SweepResult"]


def _number(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or np.isnan(value) else float(value)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class KResult:
    """Scores at one k with one rule of voting. Scores are in [0, 1]; `definitions` of the sweep says what they are.

    Attributes:
        k: Neighbors that vote.
        weights: `uniform`, `distance` or `softmax`.
        macro_f1: From the counts of all rows, whatever the protocol; so are the next three.
        micro_f1: As above.
        accuracy: As above.
        balanced_accuracy: As above.
        macro_f1_sd: Sample standard deviation (n - 1) of `macro_f1_folds`; None with fewer than two folds.
        macro_f1_folds: Of each fold over the classes present in it; empty with leave-group-out.
        ci95: 95 % bootstrap intervals over groups of the four scores by name; empty with too few groups.
        counts: True and false positives and false negatives per class, over all rows.
        per_class_f1: From `counts`, (n_classes,).
        confusion: Single-label: int64 (n_classes, n_classes + 1), annotated along the rows, last column without
            prediction. None for multi-label.
        predicted: Classes predicted for each row of `SweepResult.ids`: class numbers (-1 none) or bool
            (n, n_classes); None unless asked for.
        scores: Of each of these rows and each class, what decided: the share of the votes, or what those of a unit's
            rows came to; float64 (n, n_classes) in [0, 1]. None unless asked for.
    """

    k: int
    weights: str
    macro_f1: float
    micro_f1: float
    accuracy: float
    balanced_accuracy: float
    macro_f1_sd: float | None
    macro_f1_folds: tuple[float, ...]
    ci95: dict[str, tuple[float, float]]
    counts: Counts
    per_class_f1: NDArray[np.float64]
    confusion: NDArray[np.int64] | None
    predicted: NDArray[Any] | None = None
    scores: NDArray[np.float64] | None = None

    def to_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """As JSON takes it; a class that no target has gets null."""
        support = self.counts.support
        interval = self.ci95.get("macro_f1")
        return {
            "k": self.k,
            "weights": self.weights,
            "macro_f1": _number(self.macro_f1),
            "macro_f1_sd": _number(self.macro_f1_sd),
            "macro_f1_ci95": list(interval) if interval else None,
            "micro_f1": _number(self.micro_f1),
            "accuracy": _number(self.accuracy),
            "balanced_accuracy": _number(self.balanced_accuracy),
            "ci95": {name: list(bounds) for name, bounds in self.ci95.items()},
            "macro_f1_folds": [_number(value) for value in self.macro_f1_folds],
            "per_class_f1": {
                name: float(value) if n else None
                for name, value, n in zip(classes, self.per_class_f1, support, strict=True)
            },
            "support": {name: int(n) for name, n in zip(classes, support, strict=True)},
            "counts": {
                name: {"tp": int(tp), "fp": int(fp), "fn": int(fn)}
                for name, tp, fp, fn in zip(classes, self.counts.tp, self.counts.fp, self.counts.fn, strict=True)
            },
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SweepResult:
    """k-NN localization at every neighborhood size, from one search.

    Attributes:
        protocol: `leave-group-out` or `kfold`.
        group: What a group is, e.g. "protein".
        labels: `single` or `multi`.
        n: Rows evaluated, or units (fields, proteins) where the votes of rows are aggregated.
        n_groups: Groups among them.
        folds: Number of folds, None with leave-group-out.
        seed: Of folds and bootstrap.
        classes: Sorted by name.
        results: One per rule of voting and k, k ascending.
        left_out: Rows not evaluated, by reason.
        lone_labels: Rows per class that no reference outside their group or fold shares: they are evaluated, and can
            only be wrong.
        excluded: Names of what a query never meets beside its own group or fold.
        settings: Temperature, threshold, ties and the like.
        definitions: What each score means, in words.
        ids: Ids of the rows or names of the units, in the order of `predicted`.
        by: What the units are, None where rows are evaluated.
        n_rows: Rows that take part; each is a reference for the others, and a query once if it is asked.
        n_queries: Rows that are asked; all that take part, or those that were not seen in training.
        targets: Annotated classes of each row of `ids`, bool (n, n_classes); None unless predictions are kept.
        products: Queries by the products that found their neighbors (`exact.Tally`).
        context: Where the vectors come from (level, encoder, ...), as `with_context` was told.
    """

    protocol: str
    group: str
    labels: str
    n: int
    n_groups: int
    folds: int | None
    seed: int
    classes: tuple[str, ...]
    results: tuple[KResult, ...]
    left_out: dict[str, int]
    lone_labels: dict[str, int]
    excluded: tuple[str, ...]
    settings: dict[str, Any]
    definitions: dict[str, str]
    ids: tuple[str, ...] = field(repr=False)
    by: str | None = None
    n_rows: int = 0
    n_queries: int = 0
    targets: NDArray[np.bool_] | None = field(default=None, repr=False)
    products: dict[str, int] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)

    def with_context(self, **context: Any) -> Self:
        """The same result that also says where its vectors come from; the keys appear in `to_dict`."""
        return replace(self, context=self.context | context)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `locatlas sweep --json`."""
        return self.context | {
            "protocol": self.protocol,
            "group": self.group,
            "labels": self.labels,
            "by": self.by,
            "n": self.n,
            "n_rows": self.n_rows,
            "n_queries": self.n_queries,
            "n_groups": self.n_groups,
            "folds": self.folds,
            "seed": self.seed,
            "classes": list(self.classes),
            "results": [result.to_dict(self.classes) for result in self.results],
            "left_out": dict(self.left_out),
            "lone_labels": dict(self.lone_labels),
            "products": dict(self.products),
            "excluded": list(self.excluded),
            "settings": dict(self.settings),
            "definitions": dict(self.definitions),
        }

    def to_arrow(self) -> Any:
        """A pyarrow table, one row per result; F1 and support per class as columns `f1/<class>`, `support/<class>`."""
        import pyarrow as pa

        rows = []
        for result in self.results:
            found = result.to_dict(self.classes)
            low, high = found["macro_f1_ci95"] or (None, None)
            row = {name: found[name] for name in ("k", "weights", "macro_f1", "macro_f1_sd")}
            row |= {"macro_f1_ci95_low": low, "macro_f1_ci95_high": high}
            row |= {name: found[name] for name in ("micro_f1", "accuracy", "balanced_accuracy")}
            row |= {f"f1/{name}": value for name, value in found["per_class_f1"].items()}
            row |= {f"support/{name}": value for name, value in found["support"].items()}
            rows.append(row)
        whole = {"k", *(f"support/{name}" for name in self.classes)}
        schema = pa.schema(
            [
                (name, pa.int64() if name in whole else pa.string() if name == "weights" else pa.float64())
                for name in rows[0]
            ]
        )
        return pa.Table.from_pylist(rows, schema=schema)

    def _repr_html_(self) -> str:
        how = f"{self.folds} folds by {self.group}" if self.folds else f"leave one {self.group} out"
        title = (
            f"{how}, {self.labels}-label: {self.n} {self.by or 'row'}s, {self.n_groups} groups, "
            f"{len(self.classes)} classes"
        )
        columns = ("k", "votes", "macro F1", "95 % interval", "SD", "micro F1", "accuracy", "balanced accuracy")
        rows = []
        for one in self.results:
            bounds = one.ci95.get("macro_f1")
            interval = None if bounds is None else f"{bounds[0]:.3f} – {bounds[1]:.3f}"
            scores = (one.macro_f1_sd, one.micro_f1, one.accuracy, one.balanced_accuracy)
            rows.append((one.k, one.weights, one.macro_f1, interval, *scores))
        left_out = [f"left out: {count} ({reason})" for reason, count in self.left_out.items() if count]
        return html_table(title, columns, rows, left_out)

    def plot(self, path: str | Path) -> Path:
        """Draw macro F1 against k with its interval; the suffix decides the format (.svg, .png, .pdf).

        Raises:
            InputError: If matplotlib is not installed or does not know the format.
        """
        from locatlas.query.sweep.plot import plot_sweep

        return plot_sweep(self, Path(path))
