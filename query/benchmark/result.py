"""What a grid came to: every cell, summaries over seeds, paired comparisons; as tables and files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from locatlas.query.benchmark.calibration import reliability
from locatlas.query.benchmark.cell import CLASSIFIERS, OBJECTIVES
from locatlas.query.benchmark.chosen_k import Condition, shown_ks
from locatlas.query.benchmark.grid import Grid
from locatlas.query.benchmark.orderings import SeenOrdering, see_orderings
from locatlas.query.benchmark.paired import Comparisons, Paired, compare_all, detectable_se
from locatlas.query.benchmark.published import Published, published
from locatlas.query.benchmark.rows import tidy
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.summary import Summary, summarize
from locatlas.query.benchmark.write_rows import write_rows
from locatlas.query.scores.metrics import DEFINITIONS as SCORES

__all__ = ["DEFINITIONS", "BenchmarkResult"]

DEFINITIONS = SCORES | {
    "scores": "of each cell from the counts of all scored rows, pooled over folds before F1 is taken (Forman and "
    "Scholz 2010)",
    "sd": "sample standard deviation (n - 1) over the seeds, and the orders of a random channel plan; null with one",
    "n_seeds": "distinct seeds; n_orders: orders that a random channel plan drew, 1 for others",
    "ci95": "95 % percentile bootstrap of the mean over the seeds, drawing groups; references and heads are kept. "
    "Means over classes are over the same classes as the score; too narrow where a class has few groups",
    "comparisons": "difference of the mean macro F1 of two plans or encoders on the same groups and seeds, with the "
    "95 % bootstrap interval from the same draws of groups; p of a two-sided permutation test that swaps the two group "
    "by group; p_holm after Holm's correction over all comparisons of the grid, made at compare_k, or where that "
    "exceeds the references at the largest k that does not",
    "detectable": "difference that is found with a power of 80 % though it must pass the correction as the first of "
    "all m comparisons: standard errors times z(1 - 0.05 / 2m) + z(0.8), "
    f"which is {detectable_se():.2f} for one and {detectable_se(30):.2f} for 30",
    "ece": "expected calibration error over 15 equal bins of the confidence (share of the votes, or a head's softmax)",
    "n_references": "rows that a scored row may meet, or that train a head, in the mean",
    "per_class_f1": "mean over the seeds; null for a class that no scored row has",
    "orderings": "what others say of which does better, beside the comparisons that it is about; verdict by p_holm < "
    "0.05, and 'not told apart' is not 'alike': see detectable",
    "published": "numbers of others under their own conditions, which are told; they were not measured here",
}


@dataclass(frozen=True, eq=False)
class BenchmarkResult:
    """All that a grid measured on one atlas.

    Attributes:
        grid: What was asked for.
        cells: Each measurement.
        n_measured: How many of them this run made; the others were in the atlas.
        left_out: Combinations that were not measured, by reason.
        n_bootstrap: Replicates of the intervals.
    """

    grid: Grid
    cells: tuple[Scored, ...]
    n_measured: int
    left_out: Mapping[str, int]
    n_bootstrap: int = 1000

    @classmethod
    def of(
        cls, grid: Grid, cells: Sequence[Scored], n_measured: int, left_out: Mapping[str, int], *, n_bootstrap: int
    ) -> Self:
        """In an order that does not depend on what was measured first."""
        ordered = sorted(cells, key=lambda one: json.dumps(one.cell.to_dict(), sort_keys=True))
        return cls(grid, tuple(ordered), n_measured, dict(left_out), n_bootstrap)

    @cached_property
    def summaries(self) -> list[Summary]:
        """Over seeds, in the order of the grid's encoders."""
        place = {entry.name: i for i, entry in enumerate(self.grid.encoders)}
        kinds = {name: i for i, name in enumerate(CLASSIFIERS)}

        def order(one: Summary) -> tuple[Any, ...]:
            cell = one.cell
            plan = (place.get(cell.encoder, len(place)), str(cell.mapping), str(cell.passes), cell.stains)
            return (
                *plan,
                OBJECTIVES.index(cell.objective),
                kinds[cell.classifier],
                str(cell.votes),
                cell.k or 0,
                cell.fraction,
            )

        return sorted(summarize(self.cells, n_bootstrap=self.n_bootstrap), key=order)

    @property
    def compare_k(self) -> int:
        """The k at which k-NN is to be compared: the grid's, or the middle one."""
        return self.grid.compare_k or self.grid.ks[len(self.grid.ks) // 2]

    @cached_property
    def compared_ks(self) -> dict[Condition, int]:
        """The k at which it is compared and shown, by level, labels and protocol."""
        return shown_ks((one.cell for one in self.cells), self.compare_k)

    @cached_property
    def _compared(self) -> Comparisons:
        replicates = max(self.n_bootstrap, 1)
        return compare_all(self.cells, k=self.compare_k, votes=self.grid.votes[0], n_replicates=replicates)

    @property
    def comparisons(self) -> list[Paired]:
        """Of every two encoders or plans, at one k."""
        return self._compared.pairs

    @cached_property
    def orderings(self) -> list[SeenOrdering]:
        """What others say of which does better, beside the comparisons that it is about."""
        return see_orderings(self.comparisons, self.cells)

    @property
    def published(self) -> list[Published]:
        """Numbers of others that the grid names."""
        return [published(name) for name in self.grid.published]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `locatlas benchmark --json`."""
        return {
            "grid": {"name": self.grid.name, "title": self.grid.title, "question": self.grid.question,
                     "caution": self.grid.caution},
            "n_cells": len(self.cells),
            "n_measured": self.n_measured,
            "cells": [{k: v for k, v in tidy(one).items() if k != "settings"} for one in self.cells],
            "summaries": [one.to_dict() for one in self.summaries],
            "comparisons": [one.to_dict() for one in self.comparisons],
            "published": [one.to_dict() for one in self.published],
            "orderings": [one.to_dict() for one in self.orderings],
            "left_out": dict(self.left_out),
            "left_out_rows": self.left_out_rows,
            "notes": self.notes,
            "settings": dict(self.grid.settings),
            "definitions": dict(DEFINITIONS),
        }  # fmt: skip

    @property
    def notes(self) -> list[str]:
        """What a reader must know, each once."""
        of_cells = dict.fromkeys(note for one in self.cells for note in one.notes)
        other_k = [
            f"{protocol}, level {level}, {labels}-label: k-NN is compared and shown at k = {k}, since {self.compare_k} "
            "exceeds the references"
            for (level, labels, protocol), k in self.compared_ks.items()
            if k != self.compare_k
        ]
        return [*of_cells, *other_k, *self._compared.notes]

    @property
    def left_out_rows(self) -> dict[str, int]:
        """Rows that no cell scored, by reason: the most over the cells."""
        found: dict[str, int] = {}
        for one in self.cells:
            for reason, n in one.left_out.items():
                found[reason] = max(n, found.get(reason, 0))
        return found

    def to_arrow(self) -> Any:
        """The tidy table, one row a cell, as a pyarrow table."""
        import pyarrow as pa

        return pa.Table.from_pylist([tidy(one) for one in self.cells])

    def write(self, folder: str | Path) -> list[Path]:
        """Write the tables, and figures where matplotlib is there, in place of all tables and figures of before.

        Args:
            folder: Made if it is not there.

        Returns:
            results.csv and .parquet (a row a cell), summary.csv (over seeds), comparisons.csv, orderings.csv,
            per_class.csv, confusion.csv, calibration.csv, result.json, and the figures of `figures.draw_all`.
        """
        import pyarrow.parquet as pq

        from locatlas.query.benchmark.figures import draw_all

        summary = [{k: v for k, v in one.to_dict().items() if not isinstance(v, dict)} for one in self.summaries]
        tables = {  # as `_TABLES` names them
            "results": [tidy(one) for one in self.cells],
            "summary": summary,
            "comparisons": [one.to_dict() for one in self.comparisons],
            "orderings": [one.to_dict() for one in self.orderings],
            "per_class": self._per_class(),
            "confusion": self._confusion(),
            "calibration": self._calibration(),
        }
        document = json.dumps(self.to_dict(), indent=1) + "\n"
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)  # now that nothing can fail but the disk
        pq.write_table(self.to_arrow(), folder / "results.parquet")
        written = [folder / "results.parquet"]
        for name, rows in tables.items():
            if rows:
                written.append(write_rows(rows, folder / f"{name}.csv"))
        (folder / "result.json").write_text(document)
        return [*written, folder / "result.json", *draw_all(self, folder)]

    def _per_class(self) -> list[dict[str, Any]]:
        rows = []
        for one in self.summaries:
            for name, value in one.per_class_f1.items():
                rows.append({**_key(one), "class": name, "f1": value, "support": one.support[name]})
        return rows

    def _confusion(self) -> list[dict[str, Any]]:
        rows = []
        for one in self.cells:
            if one.confusion is None:
                continue
            key = {k: v for k, v in tidy(one).items() if k in (*_KEY, "seed", "mapping_seed")}
            for i, annotated in enumerate(one.classes):
                for predicted, n in zip([*one.classes, "(none)"], one.confusion[i].tolist(), strict=True):
                    if n:
                        rows.append({**key, "annotated": annotated, "predicted": predicted, "n": n})
        return rows

    def _calibration(self) -> list[dict[str, Any]]:
        rows = []
        for one in self.summaries:
            sums = [cell.confidence for cell in one.cells if cell.confidence is not None]
            if not sums:
                continue
            found = reliability(sum(sums[1:], sums[0]))
            for b, n in enumerate(found.n.tolist()):
                if n:
                    rows.append({
                        **_key(one), "bin": b, "from": b / len(found.n), "to": (b + 1) / len(found.n), "n": n,
                        "confidence": float(found.confidence[b]), "accuracy": float(found.accuracy[b]),
                    })  # fmt: skip
        return rows


_TABLES = ("results", "summary", "comparisons", "orderings", "per_class", "confusion", "calibration")
_FIGURES = ("svg", "png", "csv")


def _clear(folder: Path) -> None:
    """Remove what another result left, so that nothing of it stands beside this one; other files stay."""
    old = [*(folder / f"{name}.csv" for name in _TABLES), folder / "results.parquet", folder / "result.json"]
    old += [path for suffix in _FIGURES for path in folder.glob(f"figure_*.{suffix}")]
    for path in old:
        path.unlink(missing_ok=True)


_KEY = (
    *("encoder", "mapping", "passes", "stains", "objective", "level", "labels"),
    *("protocol", "classifier", "k", "votes", "fraction"),
)


def _key(one: Summary) -> dict[str, Any]:
    said = one.cell.to_dict()
    return {name: said[name] for name in _KEY}
