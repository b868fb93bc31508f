"""Draw paired differences of encoders and plans. Writes files."""

from collections.abc import Sequence
from pathlib import Path

from locatlas.query.benchmark.figures_names import classifier_name, condition
from locatlas.query.benchmark.figures_page import Page
from locatlas.query.benchmark.paired import Paired
from locatlas.query.benchmark.summary import Summary

__all__ = ["draw_differences"]

_MOST_PAIRS = 45
_LONG = 60  # letters of a label; longer ones get two lines


def draw_differences(pairs: Sequence[Paired], group: Sequence[Summary], stem: Path) -> list[Path]:
    """Draw the difference of every two: a row for each pair with its interval and p, a panel for each classifier.

    The grey bar is the difference that would be found with a power of 80 % after correction: an interval that reaches
    zero within a wide bar does not say that two are alike. Filled markers are those with p (Holm) below 0.05.

    Args:
        pairs: Of one level, kind of labels and protocol, and one fraction.
        group: What they are made of, for the title.
        stem: Path without suffix.

    Returns:
        SVG, PNG, CSV. With more than 45 pairs those with the largest differences are drawn, which is told.

    Raises:
        InputError: If there is nothing to draw, or matplotlib is not installed.
    """
    by: dict[tuple[object, ...], str] = {
        (one.cell.classifier, one.cell.k, one.cell.votes): classifier_name(one.cell) for one in group
    }
    titles = list(dict.fromkeys(by[_key(pair)] for pair in pairs))
    names = list(dict.fromkeys((pair.first, pair.second) for pair in pairs))
    size = {name: max(abs(p.difference) for p in pairs if (p.first, p.second) == name) for name in names}
    shown = sorted(names, key=lambda name: -size[name])[:_MOST_PAIRS] if len(names) > _MOST_PAIRS else names
    common, short = _shortened([part for name in names for part in name])
    labels = [f"{short[first]} less {short[second]}" for first, second in shown]
    if max(map(len, labels), default=0) > _LONG:
        labels = [f"{short[first]}\nless {short[second]}" for first, second in shown]
    height = max(1.4, 0.75 + (0.36 if any("\n" in label for label in labels) else 0.29) * len(shown))
    page = Page.of(group if pairs else [], titles, panel=(4.8, height), labels=labels)
    for pair in pairs:
        if (pair.first, pair.second) in shown:
            _draw_pair(page, by[_key(pair)], shown.index((pair.first, pair.second)), pair)
    for axes in page.panels.values():
        axes.axvline(0, color="0.3", linewidth=1)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel("difference of macro F1")
        axes.locator_params(axis="x", nbins=6)
    next(iter(page.panels.values())).set_yticks(range(len(shown)), labels, fontsize=8)
    told = [common, titles[0] if len(titles) == 1 else "", "on the same groups and seeds", "bars: 95 % interval"]
    if len(names) > len(shown):
        told.append(f"the {len(shown)} largest of {len(names)}")
    return page.finish(stem, [pair.to_dict() for pair in pairs], condition(group), "; ".join(filter(None, told)))


def _draw_pair(page: Page, title: str, y: int, pair: Paired) -> None:
    axes = page.panels[title]
    if pair.detectable is not None:
        bar = axes.barh(y, 2 * pair.detectable, left=-pair.detectable, height=0.56, color="0.9", zorder=1)
        page.entry("smaller than what is found with a power of 80 % (after correction)", bar)
    low, high = pair.ci95 or (pair.difference, pair.difference)
    found = pair.p_holm is not None and pair.p_holm < 0.05
    drawn = axes.errorbar(
        [pair.difference],
        [y],
        xerr=[[max(pair.difference - low, 0)], [max(high - pair.difference, 0)]],
        color="#0072B2" if found else "0.35",
        marker="o" if found else "s",
        markerfacecolor="#0072B2" if found else "white",
        markersize=5,
        capsize=3,
        linestyle="none",
    )
    page.entry("p < 0.05 after Holm's correction" if found else "p ≥ 0.05 after Holm's correction", drawn)
    if pair.p_holm is not None:
        text = "p < 0.001" if pair.p_holm < 0.001 else f"p = {pair.p_holm:.3f}"
        axes.annotate(
            text, (1.0, y), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
            ha="left", va="center", fontsize=7, color="0.25", annotation_clip=False,
        )  # fmt: skip


def _key(pair: Paired) -> tuple[object, ...]:
    return pair.where["classifier"], pair.where["k"], pair.where["votes"]


def _shortened(names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The parts that all names have, and names without them; where nothing is left it is frozen, which no name says."""
    split = {name: name.split(", ") for name in names}
    alike = set.intersection(*map(set, split.values())) if split else set()
    common = ", ".join(part for part in next(iter(split.values()), []) if part in alike)
    short = {name: ", ".join(part for part in parts if part not in alike) or "frozen" for name, parts in split.items()}
    return common, short
