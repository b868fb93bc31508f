"""What the figures of a grid share: panels, styles, published marks, legend, files. Writes files.

Colours are Okabe and Ito's, told apart with every kind of colour vision; markers and line styles say the same without.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from locatlas.errors import InputError
from locatlas.query.benchmark.figures_names import Plan, line_names, mark_text, plan_of
from locatlas.query.benchmark.published import Published
from locatlas.query.benchmark.summary import Summary
from locatlas.query.benchmark.write_rows import write_rows
from locatlas.query.figures import new_panels, write_formats

__all__ = ["MOST_PLANS", "Page", "summary_row"]

MOST_PLANS = 8
"""Plans in figures that grow unreadable with more; their CSV has all."""

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", "-.", (0, (1, 1.2)))
_FROZEN = "0.35"
_MARK_LINES = ((0, (6, 2)), (0, (6, 2, 1, 2)), (0, (2, 2)), (0, (6, 2, 1, 2, 1, 2)))
_SMALL = 8
_LETTER = 0.0645
"""Mean width of a letter of that size in inches."""


@dataclass
class Page:
    """A figure with a panel for each classifier, a style for each plan, and its legend below.

    Attributes:
        group: What is drawn.
        figure: matplotlib's.
        panels: Title and axes of each panel; with several rows of axes those of the first row.
        below: Axes of the second row; empty with one.
        names: Of the plans.
        common: What they have in common.
        styles: Of the plans, as `Axes.plot` takes them.
    """

    group: Sequence[Summary]
    figure: Any
    panels: dict[str, Any]
    below: dict[str, Any]
    names: Mapping[Plan, str]
    common: str
    styles: Mapping[Plan, dict[str, Any]]
    _entries: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        group: Sequence[Summary],
        titles: Sequence[str],
        *,
        panel: tuple[float, float] = (5.7, 3.6),
        labels: Sequence[str] = (),
        heights: Sequence[float] = (1,),
    ) -> Self:
        """An empty page.

        Args:
            group: What will be drawn.
            titles: Of the panels; a title of the only one is left to the figure's.
            panel: Width and height of one panel in inches, without its labels; several are narrower.
            labels: Along y, which need room.
            heights: Of the rows of axes, relative.

        Raises:
            InputError: If there is nothing to draw, or matplotlib is not installed.
        """
        if not group:
            message = "no figure: none of the measurements is of this kind"
            raise InputError(message)
        margin = max(0.7, 0.25 + _LETTER * max((len(part) for one in labels for part in one.split("\n")), default=0))
        width = margin + panel[0] * (len(titles) * 0.75 if len(titles) > 1 else 1)
        figure, rows = new_panels(len(heights), len(titles), size=(width, panel[1]), heights=heights)
        common, names = line_names(group)
        page = cls(
            group=group,
            figure=figure,
            panels=dict(zip(titles, rows[0], strict=True)),
            below=dict(zip(titles, rows[1], strict=True)) if len(rows) > 1 else {},
            names=names,
            common=common,
            styles=_styles(list(names)),
        )
        if len(titles) > 1:
            for title, axes in page.panels.items():
                axes.set_title(title, fontsize=9, loc="left")
        return page

    def style(self, one: Summary) -> dict[str, Any]:
        """Of a summary's plan."""
        return dict(self.styles[plan_of(one)])

    def entry(self, label: str, handle: Any) -> None:
        """Add to the legend; a label that is there already keeps its first handle."""
        self._entries.setdefault(label, handle)

    def mark(self, title: str, published: Sequence[Published], *, upright: bool = False) -> None:
        """Draw those published numbers in a panel that fit what it shows; their condition goes into the legend.

        Args:
            title: Of the panel.
            published: Numbers of others.
            upright: Whether scores are along x.
        """
        axes = self.panels[title]
        line, span = (axes.axvline, axes.axvspan) if upright else (axes.axhline, axes.axhspan)
        for i, one in enumerate(published):
            drawn = line(one.value, color="0.45", linewidth=1.2, linestyle=_MARK_LINES[i % len(_MARK_LINES)], zorder=1)
            if one.spread:
                span(one.value - one.spread, one.value + one.spread, color="0.6", alpha=0.15, linewidth=0, zorder=0)
            if one.at_least:
                _arrow(axes, one.value, upright=upright)
            self.entry(mark_text(one), drawn)

    def finish(self, stem: Path, rows: Sequence[Mapping[str, Any]], *lines: str) -> list[Path]:
        """Set title and legend; write the figure in all formats, and its numbers as CSV beside it.

        Args:
            stem: Path without suffix.
            rows: The numbers.
            lines: Of the title.

        Returns:
            The figures, then the CSV.
        """
        width, height = self.figure.get_size_inches()
        letters = int(width / _LETTER)
        title = [part for line in lines if line for part in textwrap.wrap(line, int(letters * 0.9))]
        self.figure.suptitle("\n".join(title), x=0.012, ha="left", fontsize=9)
        labels = [textwrap.fill(label, letters - 10) for label in self._entries]
        n_lines = sum(label.count("\n") + 1 for label in labels)
        if labels:
            self.figure.legend(
                list(self._entries.values()), labels, loc="outside lower left", frameon=False, fontsize=_SMALL, ncols=1
            )
        self.figure.set_size_inches(width, height + 0.158 * n_lines + 0.16 * len(title))
        return [*write_formats(self.figure, stem), write_rows(rows, stem.with_name(stem.name + ".csv"))]


def _styles(plans: Sequence[Plan]) -> dict[Plan, dict[str, Any]]:
    """A colour, marker and line style for each plan; frozen ones are grey and open where others are fine-tuned."""
    tuned = any(plan[4] != "frozen" for plan in plans)
    found, n_colored = {}, 0
    for place, plan in enumerate(plans):
        base = tuned and plan[4] == "frozen"
        color = _FROZEN if base else _COLORS[n_colored % len(_COLORS)]
        open_marker = base or (n_colored // len(_COLORS)) % 2 == 1
        found[plan] = {
            "color": color,
            "marker": _MARKERS[place % len(_MARKERS)],
            "markerfacecolor": "white" if open_marker else color,
            "linestyle": _LINES[1 if base else (n_colored // 2) % len(_LINES)],
            "linewidth": 1.4,
            "markersize": 5.5,
        }
        n_colored += not base
    return found


def _arrow(axes: Any, value: float, *, upright: bool) -> None:
    """Show on which side of a limit the published values are."""
    ends = {"xy": (value, 0.97), "xytext": (14, 0)} if upright else {"xy": (0.015, value), "xytext": (0, 14)}
    where = ("data", "axes fraction") if upright else ("axes fraction", "data")
    axes.annotate(
        "", **ends, xycoords=where, textcoords="offset points", arrowprops={"arrowstyle": "<-", "color": "0.45"}
    )


def summary_row(one: Summary, line: str) -> dict[str, Any]:
    """Numbers of a summary for a figure's CSV."""
    said, spread = one.cell.to_dict(), one.scores["macro_f1"]
    names = ("encoder", "mapping", "passes", "stains", "objective", "classifier", "k", "votes", "fraction")
    return {
        "line": line,
        **{name: said[name] for name in names},
        "macro_f1": spread.mean,
        "macro_f1_sd": spread.sd,
        "macro_f1_ci95": spread.ci95,
        "n_seeds": len(one.seeds),
        "n_orders": one.n_orders,
    }
