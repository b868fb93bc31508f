"""Draw macro F1 against k. Writes files."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from locatlas.query.benchmark.figures_names import Plan, condition, plan_of
from locatlas.query.benchmark.figures_page import Page, summary_row
from locatlas.query.benchmark.published import Published
from locatlas.query.benchmark.summary import Summary

__all__ = ["draw_by_k"]

_MOST_TICKS = 10
_RULES = ("uniform", "distance", "softmax")


def draw_by_k(group: Sequence[Summary], stem: Path, *, published: Sequence[Published] = ()) -> list[Path]:
    """Draw k-NN: a line for each encoder and plan with its interval, a panel for each rule of voting.

    Args:
        group: Of one level, kind of labels and protocol; what is not k-NN, or of a lower fraction, is left out.
        stem: Path without suffix.
        published: Numbers of others; those that fit become marks.

    Returns:
        SVG, PNG, CSV.

    Raises:
        InputError: If there is no k-NN among them, or matplotlib is not installed.
    """
    near = [one for one in group if one.cell.classifier == "knn"]
    near = [one for one in near if one.cell.fraction == max(x.cell.fraction for x in near)]
    rules = sorted({str(one.cell.votes) for one in near}, key=_RULES.index)
    page = Page.of(near, [f"{rule} votes" for rule in rules])
    marks = [one for one in published if one.fits(near[0].cell)]
    rows = []
    for rule, (title, axes) in zip(rules, page.panels.items(), strict=True):
        lines: defaultdict[Plan, list[Summary]] = defaultdict(list)
        for one in near:
            if one.cell.votes == rule:
                lines[plan_of(one)].append(one)
        for plan, points in lines.items():
            points.sort(key=lambda one: one.cell.k or 0)
            ks, style = [one.cell.k for one in points], page.styles[plan]
            (line,) = axes.plot(ks, [one.scores["macro_f1"].mean for one in points], **style)
            bounds = np.array([one.scores["macro_f1"].ci95 or (np.nan, np.nan) for one in points])
            axes.fill_between(
                ks, bounds[:, 0], bounds[:, 1], color=style["color"], alpha=min(0.14, 0.7 / len(lines)), linewidth=0
            )
            page.entry(page.names[plan], line)
            rows += [summary_row(one, page.names[plan]) for one in points]
        page.mark(title, marks)
        _scale(axes, sorted({one.cell.k for one in near if one.cell.k}))
        axes.set_xlabel("neighbors that vote, k")
    next(iter(page.panels.values())).set_ylabel("macro F1")
    bands = any(one.scores["macro_f1"].ci95 for one in near)
    how = [page.common, f"{rules[0]} votes" if len(rules) == 1 else "",
           f"bands: 95 % interval over {near[0].cell.setting('group', 'protein')}s" if bands else ""]  # fmt: skip
    return page.finish(stem, rows, condition(near), "; ".join(filter(None, how)))


def _scale(axes: Any, ks: Sequence[int]) -> None:
    """A logarithmic scale with ticks at the k that were measured, where they are few."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ks) if len(ks) <= _MOST_TICKS else LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
