"""Draw encoders and channel plans side by side. Writes files."""

from collections.abc import Sequence
from pathlib import Path

from locatlas.query.benchmark.figures_names import classifier_name, condition, line_names, plan_of
from locatlas.query.benchmark.figures_page import Page, summary_row
from locatlas.query.benchmark.published import Published
from locatlas.query.benchmark.summary import Summary

__all__ = ["draw_plans"]


def draw_plans(group: Sequence[Summary], stem: Path, *, published: Sequence[Published] = ()) -> list[Path]:
    """Draw macro F1 of encoders and plans: a row for each, a panel for each classifier.

    The marker is the mean over seeds with its 95 % interval over groups; small dots are the seeds, or the orders of a
    random plan. Whether two differ is not told by their intervals but by `draw_differences`.

    Args:
        group: Of one level, kind of labels, protocol and fraction; k-NN at the k and votes that are to be seen only.
        stem: Path without suffix.
        published: Numbers of others; those that fit a panel become marks.

    Returns:
        SVG, PNG, CSV.

    Raises:
        InputError: If there is nothing to draw, or matplotlib is not installed.
    """
    titles = list(dict.fromkeys(classifier_name(one.cell) for one in group))
    labels = list(line_names(group)[1].values())
    page = Page.of(group, titles, panel=(5.0, max(1.5, 0.75 + 0.3 * len(labels))), labels=labels)
    place = {plan: y for y, plan in enumerate(page.names)}
    rows = []
    for title, axes in page.panels.items():
        shown = [one for one in group if classifier_name(one.cell) == title]
        for one in shown:
            spread, y = one.scores["macro_f1"], place[plan_of(one)]
            low, high = spread.ci95 or (spread.mean, spread.mean)
            bar = [[max(spread.mean - low, 0)], [max(high - spread.mean, 0)]]
            axes.errorbar([spread.mean], [y], xerr=bar, capsize=3, **page.style(one) | {"linestyle": "none"})
            if len(spread.seeds) > 1:
                dots = axes.scatter(spread.seeds, [y + 0.26] * len(spread.seeds), s=7, color="0.4", zorder=3)
                page.entry("one seed, or one order of a random plan", dots)
            rows.append(summary_row(one, page.names[plan_of(one)]))
        page.mark(title, [one for one in published if one.fits(shown[0].cell)], upright=True)
        axes.set_xlabel("macro F1")
        axes.set_ylim(len(place) - 0.4, -0.6)
        axes.locator_params(axis="x", nbins=6)
    left, right = zip(*(axes.get_xlim() for axes in page.panels.values()), strict=True)
    for axes in page.panels.values():  # so that classifiers can be compared
        axes.set_xlim(min(left), max(right))
    next(iter(page.panels.values())).set_yticks(range(len(place)), labels, fontsize=8)
    bars = any(one.scores["macro_f1"].ci95 for one in group)
    how = f"bars: 95 % interval over {group[0].cell.setting('group', 'protein')}s" if bars else ""
    only = titles[0] if len(titles) == 1 else ""
    return page.finish(stem, rows, condition(group), "; ".join(filter(None, [page.common, only, how])))
