"""Draw how often predictions of each confidence are right. Writes files."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from locatlas.query.benchmark.calibration import reliability
from locatlas.query.benchmark.figures_names import classifier_name, condition, plan_of
from locatlas.query.benchmark.figures_page import MOST_PLANS, Page
from locatlas.query.benchmark.summary import Summary

__all__ = ["draw_reliability"]

_FEW = 10
"""Rows below which a bin is left out of the drawing: its share would be noise."""


def draw_reliability(group: Sequence[Summary], stem: Path) -> list[Path]:
    """Draw the share of right predictions against their confidence: a line for each plan, a panel for each classifier.

    Below stands which share of the rows has the confidence. Bins of fewer than 10 rows are not drawn.

    Args:
        group: Of one level, kind of labels, protocol and fraction; k-NN at the k and votes that are to be seen only.
        stem: Path without suffix.

    Returns:
        SVG, PNG, CSV. With more than 8 plans the first ones are drawn, which is told; the CSV has all, and all bins.

    Raises:
        InputError: If there are no confidences, or matplotlib is not installed.
    """
    group = [one for one in group if one.ece is not None]
    titles = list(dict.fromkeys(classifier_name(one.cell) for one in group))
    drawn = list(dict.fromkeys(plan_of(one) for one in group))[:MOST_PLANS]
    page = Page.of([one for one in group if plan_of(one) in drawn], titles, panel=(4.2, 4.9), heights=(4, 1))
    rows = []
    for one in group:
        found = reliability(np.sum([cell.confidence for cell in one.cells if cell.confidence is not None], axis=0))
        title, plan = classifier_name(one.cell), plan_of(one)
        name = page.names.get(plan, "")
        rows += [
            {"line": name or str(plan), "by": title, "confidence": c, "accuracy": a, "n": int(n), "ece": found.ece}
            for c, a, n in zip(found.confidence, found.accuracy, found.n, strict=True)
            if not math.isnan(c)
        ]
        if plan not in drawn:
            continue
        style, enough = page.styles[plan], found.n >= _FEW
        (line,) = page.panels[title].plot(found.confidence[enough], found.accuracy[enough], **style)
        page.entry(name, line)
        edges = np.linspace(0, 1, len(found.n) + 1)
        share = found.n / max(found.n.sum(), 1)
        page.below[title].stairs(share, edges, color=style["color"], linestyle=style["linestyle"], linewidth=1.2)
        _tell_ece(page, title, one, drawn.index(plan))
    for title, axes in page.panels.items():
        page.entry("as sure as right", axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=1)[0])
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.set_ylim(0, 1)
        page.below[title].set_xlabel("confidence of the prediction")
    next(iter(page.panels.values())).set_ylabel("share that is right")
    next(iter(page.below.values())).set_ylabel("rows", fontsize=9)
    told = [page.common, titles[0] if len(titles) == 1 else "", f"bins of fewer than {_FEW} rows are not drawn"]
    if (n_plans := len({plan_of(one) for one in group})) > len(drawn):
        told.append(f"the first {len(drawn)} of {n_plans} plans")
    return page.finish(stem, rows, condition(group), "; ".join(filter(None, told)))


def _tell_ece(page: Page, title: str, one: Summary, place: int) -> None:
    """Write the calibration error into the panel, in the plan's colour beside its marker."""
    axes, style = page.panels[title], page.style(one) | {"linestyle": "none"}
    y = 0.05 + 0.055 * place
    axes.plot([0.77], [y], transform=axes.transAxes, **style)
    axes.text(0.8, y, f"ECE {one.ece:.3f}", transform=axes.transAxes, fontsize=8, va="center")
