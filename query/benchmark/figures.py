"""Figures of a grid, like a paper's: each as SVG and PNG, with its numbers as CSV beside. Writes files."""

import re
from collections import defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from locatlas.query.benchmark.chosen_k import Condition, condition_of
from locatlas.query.benchmark.figures_by_fraction import draw_by_fraction
from locatlas.query.benchmark.figures_by_k import draw_by_k
from locatlas.query.benchmark.figures_confusion import draw_confusion
from locatlas.query.benchmark.figures_differences import draw_differences
from locatlas.query.benchmark.figures_names import classifier_name, line_names, plan_of
from locatlas.query.benchmark.figures_per_class import draw_per_class
from locatlas.query.benchmark.figures_plans import draw_plans
from locatlas.query.benchmark.figures_reliability import draw_reliability
from locatlas.query.benchmark.summary import Summary

if TYPE_CHECKING:
    from locatlas.query.benchmark.result import BenchmarkResult

__all__ = ["draw_all"]

_MOST_MATRICES = 12


def draw_all(result: "BenchmarkResult", folder: Path) -> list[Path]:
    """Draw what a grid's axes call for; nothing where matplotlib is not installed.

    Figures are apart for levels, kinds of labels and protocols. Confusion matrices are drawn of the first 12 plans and
    classifiers; the tables have those of all.

    Args:
        result: What was measured.
        folder: Where the files go; their names begin with `figure_`.

    Returns:
        The files that were written.
    """
    if find_spec("matplotlib") is None:
        return []
    written: list[Path] = []
    for suffix, group in _by_condition(result.summaries).items():
        written += _draw_condition(result, group, folder, suffix)
    return written


def _draw_condition(result: "BenchmarkResult", group: Sequence[Summary], folder: Path, suffix: str) -> list[Path]:
    """Figures of one level, kind of labels and protocol."""

    def stem(name: str) -> Path:
        return folder / f"figure_{name}{suffix}"

    written: list[Path] = []
    chosen = _chosen(group, result)
    whole = [one for one in chosen if one.cell.fraction == max(x.cell.fraction for x in chosen)]
    if len({one.cell.k for one in group if one.cell.k}) > 1:
        written += draw_by_k(group, stem("f1_by_k"), published=result.published)
    if len({one.cell.fraction for one in group}) > 1:
        written += draw_by_fraction(chosen, stem("f1_by_fraction"), published=result.published)
    if len(whole) > 1:
        written += draw_plans(whole, stem("plans"), published=result.published)
    first, fraction = group[0].cell, whole[0].cell.fraction
    where = {"level": first.level, "labels": first.labels, "protocol": first.protocol, "fraction": fraction}
    pairs = [pair for pair in result.comparisons if where.items() <= pair.where.items()]
    if pairs:
        written += draw_differences(pairs, whole, stem("differences"))
    written += draw_per_class(whole, stem("per_class"))
    matrices = [one for one in whole if one.cells[0].confusion is not None]
    for name, one in _named(matrices).items():
        written += draw_confusion(one, stem(f"confusion{name}"))
    if any(one.ece is not None for one in whole):
        written += draw_reliability(whole, stem("reliability"))
    return written


def _by_condition(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Summaries by level, labels and protocol, under a suffix that is empty where there is only one."""
    found: defaultdict[Condition, list[Summary]] = defaultdict(list)
    for one in summaries:
        found[condition_of(one.cell)].append(one)
    if len(found) == 1:
        return {"": next(iter(found.values()))}
    return {"_" + "_".join(key): group for key, group in found.items()}


def _chosen(group: Sequence[Summary], result: "BenchmarkResult") -> list[Summary]:
    """Heads, and k-NN at the k of the comparisons with the first rule of voting."""
    k = result.compared_ks.get(condition_of(group[0].cell))
    return [
        one
        for one in group
        if one.cell.classifier != "knn" or (one.cell.k, one.cell.votes) == (k, result.grid.votes[0])
    ]


def _named(group: Sequence[Summary]) -> dict[str, Summary]:
    """The first ones, by what they differ in, as it can stand in the name of a file; the very first has no name."""
    _, names = line_names(group) if group else ("", {})
    several = len(names) > 1
    found: dict[str, Summary] = {}
    for one in group[:_MOST_MATRICES]:
        words = [names[plan_of(one)] if several else "", classifier_name(one.cell)]
        found["_" + re.sub(r"[^\w.+-]+", "-", " ".join(words)).strip("-") if found else ""] = one
    return found
