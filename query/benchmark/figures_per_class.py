"""Draw F1 of each class. Writes files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from locatlas.query.benchmark.figures_names import classifier_name, condition, plan_of
from locatlas.query.benchmark.figures_page import MOST_PLANS, Page
from locatlas.query.benchmark.summary import Summary

__all__ = ["draw_per_class"]

_MOST_CLASSES = 40


def draw_per_class(group: Sequence[Summary], stem: Path) -> list[Path]:
    """Draw F1 of each class, the most frequent first: a marker for each plan, a panel for each classifier.

    Rows and groups of a class stand with its name: F1 of a class of few groups says little.

    Args:
        group: Of one level, kind of labels, protocol and fraction; k-NN at the k and votes that are to be seen only.
        stem: Path without suffix.

    Returns:
        SVG, PNG, CSV. With more than 8 plans or 40 classes the first ones are drawn, which is told; the CSV has all.

    Raises:
        InputError: If there is nothing to draw, or matplotlib is not installed.
    """
    titles = list(dict.fromkeys(classifier_name(one.cell) for one in group))
    support, n_groups = _sizes(group)
    classes = sorted(support, key=lambda name: (-support[name], name))
    seen = classes[:_MOST_CLASSES]
    drawn = list(dict.fromkeys(plan_of(one) for one in group))[:MOST_PLANS]
    shown = [one for one in group if plan_of(one) in drawn]
    step = min(0.13, 0.8 / len(drawn))
    names = [f"{name}  {support[name]:,.0f} · {n_groups[name]:,.0f}" for name in seen]
    height = 0.7 + len(seen) * max(0.22, 0.07 * len(drawn))
    page = Page.of(shown, titles, panel=(4.4, height), labels=names)
    for title, axes in page.panels.items():
        for one in shown:
            if classifier_name(one.cell) != title:
                continue
            shift = step * (drawn.index(plan_of(one)) - (len(drawn) - 1) / 2)
            known = [(y + shift, f1) for y, name in enumerate(seen) if (f1 := one.per_class_f1.get(name)) is not None]
            style = page.style(one) | {"linestyle": "none"}
            (line,) = axes.plot([f1 for _, f1 in known], [y for y, _ in known], **style)
            page.entry(page.names[plan_of(one)], line)
        for y in range(0, len(seen), 2):
            axes.axhspan(y - 0.5, y + 0.5, color="0.96", zorder=0)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(len(seen) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("F1")
    next(iter(page.panels.values())).set_yticks(range(len(seen)), names, fontsize=8)
    rows = [
        {"line": _whole(one), "by": classifier_name(one.cell), "class": name, "f1": one.per_class_f1[name],
         "rows": one.support[name]}
        for one in group for name in classes if name in one.per_class_f1
    ]  # fmt: skip
    grouped = group[0].cell.setting("group", "protein")
    told = [f"with each class its rows · {grouped}s"]
    n_plans = len({plan_of(one) for one in group})
    if n_plans > len(drawn):
        told.append(f"the first {len(drawn)} of {n_plans} plans")
    if len(classes) > len(seen):
        told.append(f"the {len(seen)} most frequent of {len(classes)} classes")
    how = "; ".join(filter(None, [page.common, titles[0] if len(titles) == 1 else ""]))
    return page.finish(stem, rows, condition(group), how, "; ".join(told))


def _whole(one: Summary) -> str:
    return ", ".join(filter(None, [part if isinstance(part, str) else "+".join(part or ()) for part in plan_of(one)]))


def _sizes(group: Sequence[Summary]) -> tuple[dict[str, float], dict[str, float]]:
    """Scored rows of each class, and groups that have any, means over the seeds of the first summary that has it."""
    support: dict[str, float] = {}
    n_groups: dict[str, float] = {}
    for one in group:
        for name in one.support.keys() - support.keys():
            support[name] = one.support[name]
            each = [
                int((cell.counts.support[:, cell.classes.index(name)] > 0).sum()) if name in cell.classes else 0
                for cell in one.cells
            ]
            n_groups[name] = float(np.mean(each))
    return support, n_groups
