"""Cells that differ in nothing but the seed, put together: mean, SD, and an interval over groups. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.benchmark.calibration import reliability
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.scored import Scored
from locatlas.query.probe.result import Spread
from locatlas.query.scores.bootstrap import DEFAULT_REPLICATES, Statistic, replicate_statistics
from locatlas.query.scores.metrics import Counts, balanced_accuracy, macro_f1, micro_f1

__all__ = ["SCORES", "Summary", "aligned_counts", "summarize"]

SCORES = ("macro_f1", "micro_f1", "accuracy", "balanced_accuracy")

_MEANS: Mapping[str, Statistic] = {"macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy}


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Cells that differ only in the seed, or in the order that a random channel plan drew.

    Attributes:
        cell: The first of them.
        cells: All of them, by seed.
        scores: Of `SCORES`, over the seeds, with the interval over groups of the mean.
        per_class_f1: Mean over seeds, by class; None for a class that no scored row of any seed has.
        support: Scored rows of each class, mean over seeds.
        ece: Of all seeds' votes together; None without confidences.
    """

    cell: Cell
    cells: tuple[Scored, ...]
    scores: Mapping[str, Spread]
    per_class_f1: Mapping[str, float | None]
    support: Mapping[str, float]
    ece: float | None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Distinct seeds, ascending."""
        return tuple(sorted({one.cell.seed for one in self.cells}))

    @property
    def n_orders(self) -> int:
        """Orders that a random channel plan drew; 1 for other plans."""
        return len({one.cell.mapping_seed for one in self.cells})

    def to_dict(self) -> dict[str, Any]:
        """One row of summary.csv, JSON-ready."""
        first = self.cells[0]
        said = {n: v for n, v in self.cell.to_dict().items() if n not in ("seed", "mapping_seed", "settings")}
        row: dict[str, Any] = {
            **said,
            "n_seeds": len(self.seeds),
            "n_orders": self.n_orders,
            "seeds": list(self.seeds),
            "fingerprints": sorted({one.fingerprint for one in self.cells}),
            "n": first.n,
            "n_groups": len(first.groups),
            "n_classes": len(first.classes),
        }
        for name, spread in self.scores.items():
            row |= {name: spread.mean, f"{name}_sd": spread.sd, f"{name}_ci95": spread.ci95 and list(spread.ci95)}
        return {**row, "ece": self.ece, "support": dict(self.support), "per_class_f1": dict(self.per_class_f1)}


def summarize(scored: Sequence[Scored], *, n_bootstrap: int = DEFAULT_REPLICATES, seed: int = 0) -> list[Summary]:
    """Put cells together that differ only in the seed.

    SD is the sample standard deviation (n - 1) over the seeds: how far split and training move the score. The interval
    is the 95 % percentile bootstrap of the mean over the seeds, drawing groups (proteins) once for all seeds, among
    those that any seed scored; references and heads are kept. It says how far other proteins would move the score.

    Args:
        scored: Of one grid.
        n_bootstrap: Replicates; 0 for no intervals.
        seed: Of the bootstrap.
    """
    alike: defaultdict[tuple[object, ...], list[Scored]] = defaultdict(list)
    for one in scored:
        alike[one.cell.without("seed", "mapping_seed")].append(one)
    return [_summary(sorted(group, key=_by_seed), n_bootstrap, seed) for group in alike.values()]


def _by_seed(one: Scored) -> tuple[int, int]:
    return one.cell.seed, -1 if one.cell.mapping_seed is None else one.cell.mapping_seed


def aligned_counts(cells: Sequence[Scored]) -> tuple[Counts, Counts, tuple[str, ...], tuple[str, ...]]:
    """Counts of several cells over the same groups and classes.

    Returns:
        Counts per group, cell and class, (n_groups, n_cells, n_classes); rows right and wrong as counts of one class,
        (n_groups, n_cells, 1), whose recall is the accuracy; groups; classes. A group that a cell did not score counts
        nothing there.
    """
    groups = tuple(sorted({name for one in cells for name in one.groups}))
    classes = tuple(sorted({name for one in cells for name in one.classes}))
    row = {name: i for i, name in enumerate(groups)}
    column = {name: i for i, name in enumerate(classes)}
    shape = (3, len(groups), len(cells), len(classes))
    counts, right = np.zeros(shape, np.int64), np.zeros((3, len(groups), len(cells), 1), np.int64)
    for i, one in enumerate(cells):
        rows = np.array([row[name] for name in one.groups])
        columns = np.array([column[name] for name in one.classes])
        for part, name in enumerate(("tp", "fp", "fn")):
            counts[part, rows[:, None], i, columns[None, :]] = getattr(one.counts, name)
        right[0, rows, i, 0], right[2, rows, i, 0] = one.n_right, one.n_rows - one.n_right
    return Counts(*counts), Counts(*right), groups, classes


def _summary(cells: Sequence[Scored], n_bootstrap: int, seed: int) -> Summary:
    counts, right, _, classes = aligned_counts(cells)
    jobs: tuple[tuple[Counts, Mapping[str, Statistic], bool], ...] = (
        (counts, _MEANS, True),
        (counts, {"micro_f1": micro_f1}, False),
        (right, {"accuracy": balanced_accuracy}, False),
    )
    scores: dict[str, Spread] = {}
    for counted, statistics, fixed in jobs:
        drawn: Mapping[str, NDArray[np.float64]] | None = None
        if n_bootstrap:
            drawn = replicate_statistics(counted, statistics, n_replicates=n_bootstrap, seed=seed, fixed_classes=fixed)
        for name, statistic in statistics.items():
            bounds = None
            if drawn is not None:
                low, high = np.quantile(np.nanmean(drawn[name], axis=1), [0.025, 0.975])
                bounds = (float(low), float(high))
            scores[name] = Spread(tuple(statistic(counted.summed()).tolist()), bounds)
    support = counts.summed().support
    f1 = [dict(zip(one.classes, one.per_class_f1, strict=True)) for one in cells]
    sums = [one.confidence for one in cells if one.confidence is not None]
    return Summary(
        cell=cells[0].cell,
        cells=tuple(cells),
        scores={name: scores[name] for name in SCORES},
        per_class_f1={
            name: float(np.mean([of[name] for i, of in enumerate(f1) if support[i, c]]))
            if support[:, c].any()
            else None
            for c, name in enumerate(classes)
        },
        support={name: float(support[:, c].mean()) for c, name in enumerate(classes)},
        ece=reliability(np.sum(sums, axis=0)).ece if sums else None,
    )
