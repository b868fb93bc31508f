"""Draw macro F1 against the share of the training data. Writes files."""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locatlas.query.benchmark.figures_names import Plan, classifier_name, condition, plan_of
from locatlas.query.benchmark.figures_page import Page, summary_row
from locatlas.query.benchmark.published import Published
from locatlas.query.benchmark.summary import Summary

__all__ = ["draw_by_fraction"]

_APART = 0.009
"""Between lines, as a share of the axis, so that their bars stand side by side."""


def draw_by_fraction(group: Sequence[Summary], stem: Path, *, published: Sequence[Published] = ()) -> list[Path]:
    """Draw fractions: a line for each encoder and plan, a panel for each classifier.

    Frozen encoders are grey with open markers where others are fine-tuned: the baseline. Bars are the SD over seeds, or
    where all points have one seed the interval over groups. A point of one seed beside others of several has no bar.

    Args:
        group: Of one level, kind of labels and protocol; k-NN at the k and votes that are to be seen only.
        stem: Path without suffix.
        published: Numbers of others; those that fit a panel become marks.

    Returns:
        SVG, PNG, CSV.

    Raises:
        InputError: If there is nothing to draw, or matplotlib is not installed.
    """
    titles = list(dict.fromkeys(classifier_name(one.cell) for one in group))
    page = Page.of(group, titles)
    fractions = sorted({one.cell.fraction for one in group})
    several = any(len(one.cells) > 1 for one in group)
    rows = []
    for title, axes in page.panels.items():
        shown = [one for one in group if classifier_name(one.cell) == title]
        lines: defaultdict[Plan, list[Summary]] = defaultdict(list)
        for one in shown:
            lines[plan_of(one)].append(one)
        for place, (plan, points) in enumerate(lines.items()):
            points.sort(key=lambda one: one.cell.fraction)
            shift = (place - (len(lines) - 1) / 2) * _APART * 100 * (fractions[-1] - fractions[0])
            at = [100 * one.cell.fraction + shift for one in points]
            means = [one.scores["macro_f1"].mean for one in points]
            bars = axes.errorbar(
                at, means, yerr=_bars(points, sd=several), capsize=2, elinewidth=1, **page.styles[plan]
            )
            page.entry(page.names[plan], bars)
            rows += [summary_row(one, page.names[plan]) for one in points]
        page.mark(title, [one for one in published if one.fits(shown[0].cell)])
        axes.set_xticks([100 * share for share in fractions])
        axes.set_xlabel("share of the training groups, %")
    next(iter(page.panels.values())).set_ylabel("macro F1")
    n_seeds = sorted({len(one.seeds) for one in group})
    orders = ", and orders of random plans" if any(one.n_orders > 1 for one in group) else ""
    how = (
        f"bars: SD over {' to '.join(map(str, {n_seeds[0]: 0, n_seeds[-1]: 0}))} seeds{orders}"
        if several
        else f"bars: 95 % interval over {group[0].cell.setting('group', 'protein')}s"
    )
    only = titles[0] if len(titles) == 1 else ""
    return page.finish(stem, rows, condition(group), "; ".join(filter(None, [page.common, only, how])))


def _bars(points: Sequence[Summary], *, sd: bool) -> Any:
    """Lengths below and above the means."""
    spreads = [one.scores["macro_f1"] for one in points]
    if sd:
        return [math.nan if spread.sd is None else spread.sd for spread in spreads]
    bounds = [spread.ci95 or (spread.mean, spread.mean) for spread in spreads]
    below = [max(spread.mean - low, 0) for spread, (low, _) in zip(spreads, bounds, strict=True)]
    return [below, [max(high - spread.mean, 0) for spread, (_, high) in zip(spreads, bounds, strict=True)]]
