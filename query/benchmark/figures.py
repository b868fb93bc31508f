"""Figures of a grid, like a paper's: each as SVG and PNG, with its numbers as CSV beside. Writes files.

Colours are Okabe and Ito's, told apart with every kind of colour vision; markers and line styles say the same without.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from locatlas.query.benchmark.calibration import reliability
from locatlas.query.benchmark.paired import plan_name
from locatlas.query.benchmark.published import Published
from locatlas.query.benchmark.summary import Summary
from locatlas.query.figures import new_figure, write_figure

if TYPE_CHECKING:
    from locatlas.query.benchmark.result import BenchmarkResult

__all__ = ["draw_all"]

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":")
_MOST_CLASSES = 40


def draw_all(result: "BenchmarkResult", folder: Path) -> list[Path]:
    """Draw what a grid's axes call for; nothing where matplotlib is not installed.

    Args:
        result: What was measured.
        folder: Where the files go.

    Returns:
        The files that were written.
    """
    if find_spec("matplotlib") is None or not result.summaries:
        return []
    written: list[Path] = []
    for name, group in _by_condition(result.summaries).items():
        near = [one for one in group if one.cell.classifier == "knn" and one.cell.votes == result.grid.votes[0]]
        chosen = _chosen(group, result)
        if len({one.cell.k for one in near}) > 1 and len({one.cell.fraction for one in near}) == 1:
            written += _draw(folder, f"f1_by_k{name}", _by_k, near, result.published)
        if len({one.cell.fraction for one in group}) > 1:
            written += _draw(folder, f"f1_by_fraction{name}", _by_fraction, chosen, result.published)
        whole = [one for one in chosen if one.cell.fraction == max(x.cell.fraction for x in chosen)]
        if len(whole) > 1:
            written += _draw(folder, f"plans{name}", _plans, whole, result.published)
        written += _draw(folder, f"per_class{name}", _per_class, whole)
        first = next((one for one in whole if one.cells[0].confusion is not None), None)
        if first is not None:
            written += _draw(folder, f"confusion{name}", _confusion, first)
        sure = [one for one in whole if one.ece is not None]
        if sure:
            written += _draw(folder, f"reliability{name}", _reliability, sure)
    return written


def _draw(folder: Path, name: str, draw: Callable[..., Path], *what: Any) -> list[Path]:
    """One figure in both formats; its CSV must not be one of the result's tables."""
    return [draw(*what, folder / f"figure_{name}{suffix}") for suffix in (".svg", ".png")]


def _by_condition(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Summaries by level, labels and protocol, under a suffix that is empty where there is only one."""
    found: defaultdict[tuple[str, ...], list[Summary]] = defaultdict(list)
    for one in summaries:
        found[one.cell.level, one.cell.labels, one.cell.protocol].append(one)
    if len(found) == 1:
        return {"": next(iter(found.values()))}
    return {"_" + "_".join(key): group for key, group in found.items()}


def _chosen(group: Sequence[Summary], result: "BenchmarkResult") -> list[Summary]:
    """Heads, and k-NN at the k of the comparisons with the first rule of voting."""
    ks = result.grid.ks
    k = result.grid.compare_k or ks[len(ks) // 2]
    there = {one.cell.k for one in group if one.cell.k}
    k = k if k in there else max(there, default=k)
    return [
        one
        for one in group
        if one.cell.classifier != "knn" or (one.cell.k, one.cell.votes) == (k, result.grid.votes[0])
    ]


def _label(one: Summary, *, several: bool) -> str:
    how = one.cell.classifier if one.cell.classifier != "knn" else f"{one.cell.k}-NN"
    return f"{plan_name(one.cells[0])}; {how}" if several else plan_name(one.cells[0])


def _style(place: int) -> dict[str, Any]:
    return {
        "color": _COLORS[place % len(_COLORS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "linestyle": _LINES[(place // len(_COLORS)) % len(_LINES)],
        "markersize": 5,
    }


def _condition(one: Summary) -> str:
    first, images = one.cells[0], {"fov": "fields", "cell": "cells", "protein": "proteins"}[one.cell.level]
    sizes = f"{first.n} {images}, {len(first.groups)} groups, {len(first.classes)} classes"
    return f"{one.cell.protocol}, {one.cell.labels}-label: {sizes}"


def _by_what(group: Sequence[Summary]) -> str:
    """By what all of them were classified, for a title; nothing where it differs and stands with each."""
    how = {one.cell.classifier if one.cell.k is None else f"{one.cell.k}-NN" for one in group}
    return f"{how.pop()}, " if len(how) == 1 else ""


def _legend(figure: Any, axes: Any, n: int) -> None:
    """Below the axes, so that it hides nothing."""
    if n:
        figure.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=1)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.17 * n)


def _marks(axes: Any, marks: Sequence[Published]) -> None:
    """Published numbers as grey lines; their condition stands in the legend and in result.json."""
    for i, one in enumerate(marks):
        axes.axhline(
            one.value, color="0.45", linewidth=1, linestyle=_LINES[(i + 1) % len(_LINES)], label=one.label, zorder=1
        )
        if one.spread:
            axes.axhspan(one.value - one.spread, one.value + one.spread, color="0.6", alpha=0.15, linewidth=0)


def _by_k(near: Sequence[Summary], marks: Sequence[Published], path: Path) -> Path:
    """Macro F1 against k, a line for each encoder and plan, with its interval."""
    from matplotlib.ticker import NullFormatter, NullLocator, ScalarFormatter

    figure, axes = new_figure(path)
    lines: defaultdict[str, list[Summary]] = defaultdict(list)
    for one in near:
        lines[plan_name(one.cells[0])].append(one)
    for place, (name, points) in enumerate(lines.items()):
        points.sort(key=lambda one: one.cell.k or 0)
        ks, style = [one.cell.k for one in points], _style(place)
        axes.plot(ks, [one.scores["macro_f1"].mean for one in points], label=name, **style)
        bounds = np.array([one.scores["macro_f1"].ci95 or (np.nan, np.nan) for one in points])
        axes.fill_between(ks, bounds[:, 0], bounds[:, 1], color=style["color"], alpha=0.15, linewidth=0)
    _marks(axes, marks)
    axes.set_xscale("log")
    axes.set_xticks(sorted({one.cell.k for one in near if one.cell.k}))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("neighbors that vote, k")
    axes.set_ylabel("macro F1")
    axes.set_title(f"{_condition(near[0])}\nband: 95 % interval over groups", fontsize=9)
    _legend(figure, axes, len(lines) + len(marks))
    return _written(figure, path, [{**_row(one), "line": plan_name(one.cells[0])} for one in near])


def _by_fraction(group: Sequence[Summary], marks: Sequence[Published], path: Path) -> Path:
    """Macro F1 against the share of the training data; bars are the SD over seeds."""
    figure, axes = new_figure(path)
    several = len({one.cell.classifier for one in group}) > 1
    lines: defaultdict[str, list[Summary]] = defaultdict(list)
    for one in group:
        lines[_label(one, several=several)].append(one)
    for place, (name, points) in enumerate(lines.items()):
        points.sort(key=lambda one: one.cell.fraction)
        means = [one.scores["macro_f1"].mean for one in points]
        sds = [one.scores["macro_f1"].sd or 0.0 for one in points]
        at = [100 * one.cell.fraction + 0.35 * (place - len(lines) / 2) for one in points]  # bars side by side
        axes.errorbar(at, means, yerr=sds, capsize=2, label=name, **_style(place))
    _marks(axes, marks)
    axes.set_xlabel("share of the training groups, %")
    axes.set_ylabel("macro F1")
    axes.set_title(f"{_condition(group[0])}\nbars: SD over {len(group[0].cells)} seeds", fontsize=9)
    _legend(figure, axes, len(lines) + len(marks))
    return _written(figure, path, [{**_row(one), "line": _label(one, several=several)} for one in group])


def _plans(group: Sequence[Summary], marks: Sequence[Published], path: Path) -> Path:
    """Encoders and plans side by side, with their intervals."""
    figure, axes = new_figure(path)
    several = len({(one.cell.classifier, one.cell.k) for one in group}) > 1
    names = [_label(one, several=several) for one in group]
    for place, one in enumerate(group):
        spread = one.scores["macro_f1"]
        low, high = spread.ci95 or (spread.mean, spread.mean)
        style = {**_style(place), "linestyle": "none"}
        bar = [[max(spread.mean - low, 0)], [max(high - spread.mean, 0)]]
        axes.errorbar([spread.mean], [place], xerr=bar, capsize=3, **style)
    for i, mark in enumerate(marks):
        axes.axvline(mark.value, color="0.45", linewidth=1, linestyle=_LINES[(i + 1) % len(_LINES)], label=mark.label)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("macro F1")
    axes.set_title(f"{_by_what(group)}{_condition(group[0])}\nbars: 95 % interval over groups", fontsize=9)
    figure.set_size_inches(8.0, 1.6 + 0.32 * len(names))
    _legend(figure, axes, len(marks))
    return _written(figure, path, [{**_row(one), "line": name} for one, name in zip(group, names, strict=True)])


def _per_class(group: Sequence[Summary], path: Path) -> Path:
    """F1 of each class, a marker for each encoder and plan; the number of scored rows stands with the class."""
    figure, axes = new_figure(path)
    shown = group[: len(_COLORS)]
    classes = sorted({name for one in shown for name in one.per_class_f1})[:_MOST_CLASSES]
    several = len({one.cell.classifier for one in shown}) > 1
    rows = []
    for place, one in enumerate(shown):
        known = [
            (y, one.per_class_f1[name]) for y, name in enumerate(classes) if one.per_class_f1.get(name) is not None
        ]
        style = {**_style(place), "linestyle": "none"}
        axes.plot([value for _, value in known], [y for y, _ in known], label=_label(one, several=several), **style)
        rows += [{"class": classes[y], "line": _label(one, several=several), "f1": value} for y, value in known]
    support = shown[0].support
    axes.set_yticks(range(len(classes)), [f"{name} ({support.get(name, 0):.0f})" for name in classes], fontsize=8)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("F1 (rows of the class in brackets)")
    more = f"; first {len(shown)} of {len(group)}" if len(group) > len(shown) else ""
    axes.set_title(f"{_by_what(shown)}{_condition(shown[0])}{more}", fontsize=9)
    figure.set_size_inches(7.0, 1.6 + 0.24 * len(classes))
    _legend(figure, axes, len(shown))
    return _written(figure, path, rows)


def _confusion(one: Summary, path: Path) -> Path:
    """Share of each annotated class that is predicted as which, with counts, of the first seed."""
    figure, axes = new_figure(path)
    cell = one.cells[0]
    assert cell.confusion is not None
    classes, counts = cell.classes, cell.confusion
    counts = counts if counts[:, -1].any() else counts[:, :-1]
    names = [*classes, "(none)"][: counts.shape[1]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for i, j in np.argwhere(counts > 0):
        axes.text(
            j,
            i,
            str(counts[i, j]),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if shares[i, j] < 0.6 else "black",
        )
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("annotated")
    figure.colorbar(image, ax=axes, label="share of the annotated class", shrink=0.7)
    axes.set_title(f"{_label(one, several=True)}, seed {cell.cell.seed}\n{_condition(one)}", fontsize=8)
    edge = max(5.0, 1.9 + 0.34 * len(classes))
    figure.set_size_inches(edge + 1.4, edge)
    rows = [
        {"annotated": classes[i], "predicted": names[j], "n": int(counts[i, j])}
        for i, j in np.argwhere(counts > 0).tolist()
    ]
    return _written(figure, path, rows)


def _reliability(group: Sequence[Summary], path: Path) -> Path:
    """Share of right predictions against their confidence."""
    figure, axes = new_figure(path)
    shown = group[: len(_COLORS)]
    several = len({one.cell.classifier for one in shown}) > 1
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="as sure as right")
    rows = []
    for place, one in enumerate(shown):
        sums = [cell.confidence for cell in one.cells if cell.confidence is not None]
        found = reliability(np.sum(sums, axis=0))
        there = found.n > 0
        name = f"{_label(one, several=several)}; ECE {found.ece:.3f}"
        axes.plot(found.confidence[there], found.accuracy[there], label=name, **_style(place))
        rows += [
            {"line": name, "confidence": c, "accuracy": a, "n": int(n)}
            for c, a, n in zip(found.confidence, found.accuracy, found.n, strict=True)
            if not math.isnan(c)
        ]
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence of the prediction")
    axes.set_ylabel("share that is right")
    axes.set_title(f"{_by_what(shown)}{_condition(shown[0])}", fontsize=9)
    figure.set_size_inches(5.5, 5.0)
    _legend(figure, axes, len(shown) + 1)
    return _written(figure, path, rows)


def _row(one: Summary) -> dict[str, Any]:
    spread = one.scores["macro_f1"]
    return {
        "k": one.cell.k,
        "fraction": one.cell.fraction,
        "macro_f1": spread.mean,
        "macro_f1_sd": spread.sd,
        "macro_f1_ci95": spread.ci95,
        "n_seeds": len(one.cells),
    }


def _written(figure: Any, path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The figure, and its numbers beside it."""
    from locatlas.query.benchmark.result import write_rows

    if rows:
        write_rows(rows, path.with_suffix(".csv"))
    return write_figure(figure, path)
