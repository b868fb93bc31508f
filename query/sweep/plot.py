"""Draw a sweep: macro F1 against k with its interval. Writes one file."""

from pathlib import Path

import numpy as np

from locatlas.query.figures import new_figure, write_figure
from locatlas.query.sweep.result import SweepResult

__all__ = ["plot_sweep"]

# Okabe and Ito's colours, told apart with every kind of colour vision; the markers say the same without colour
_STYLES = {"uniform": ("#0072B2", "o"), "distance": ("#D55E00", "s"), "softmax": ("#009E73", "^")}


def plot_sweep(result: SweepResult, path: Path) -> Path:
    """Write the figure; an existing file is replaced.

    Args:
        result: What to draw; one line for each rule of voting.
        path: Its suffix decides the format: .svg, .png, .pdf.

    Returns:
        The path.

    Raises:
        InputError: If matplotlib is not installed or does not know the format.
    """
    figure, axes = new_figure(path)
    from matplotlib.ticker import NullFormatter, NullLocator, ScalarFormatter

    rules = list(dict.fromkeys(one.weights for one in result.results))
    for rule in rules:
        found = [one for one in result.results if one.weights == rule]
        ks = [one.k for one in found]
        color, marker = _STYLES[rule]
        axes.plot(ks, [one.macro_f1 for one in found], color=color, marker=marker, markersize=5, label=rule)
        bounds = np.array([one.ci95.get("macro_f1", (np.nan, np.nan)) for one in found])
        axes.fill_between(ks, bounds[:, 0], bounds[:, 1], color=color, alpha=0.18, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks(sorted({one.k for one in result.results}))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("neighbors that vote, k")
    axes.set_ylabel("macro F1")
    how = f"{result.folds} folds by {result.group}" if result.folds else f"leave one {result.group} out"
    axes.set_title(
        f"{how}: {result.n} {result.by or 'row'}s, {result.n_groups} groups, {len(result.classes)} classes", fontsize=10
    )
    if any(one.ci95 for one in result.results) or len(rules) > 1:
        band = " (band: 95 % interval over groups)" if any(one.ci95 for one in result.results) else ""
        legend = axes.legend(title=f"votes{band}", frameon=False, fontsize=9, title_fontsize=9)
        legend.set_alignment("left")
    return write_figure(figure, path)
