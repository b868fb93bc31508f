"""Draw a probe: macro F1 against the fraction of the groups. Writes one file."""

from pathlib import Path

import numpy as np

from locatlas.query.figures import new_figure, write_figure
from locatlas.query.probe.result import ProbeResult

__all__ = ["plot_probe"]

_BLUE = "#0072B2"  # Okabe and Ito's


def plot_probe(result: ProbeResult, path: Path) -> Path:
    """Write the figure; an existing file is replaced.

    Args:
        result: What to draw: the mean over the seeds with its interval, and every seed as a dot.
        path: Its suffix decides the format: .svg, .png, .pdf.

    Returns:
        The path.

    Raises:
        InputError: If matplotlib is not installed or does not know the format.
    """
    figure, axes = new_figure(path)
    shares = [100 * point.fraction for point in result.points]
    scores = [point.scores["macro_f1"] for point in result.points]
    axes.plot(shares, [score.mean for score in scores], color=_BLUE, marker="o", markersize=5, label="mean over seeds")
    each = [(share, value) for share, score in zip(shares, scores, strict=True) for value in score.seeds]
    axes.scatter(
        [share for share, _ in each], [value for _, value in each], color=_BLUE, s=10, alpha=0.5, label="each seed"
    )
    bounds = np.array([score.ci95 or (np.nan, np.nan) for score in scores])
    if np.isfinite(bounds).any():
        axes.errorbar(
            shares,
            bounds.mean(axis=1),
            yerr=(bounds[:, 1] - bounds[:, 0]) / 2,
            fmt="none",
            ecolor=_BLUE,
            alpha=0.35,
            capsize=3,
            label="95 % interval over groups",
        )
    axes.set_xticks(shares)
    axes.set_xlabel(f"share of the training groups ({result.group}) in %")
    axes.set_ylabel("macro F1")
    axes.set_title(
        f"frozen backbone, trained head ({result.head['head']['kind']}): {result.n} rows, {result.n_groups} groups, "
        f"{len(result.classes)} classes",
        fontsize=10,
    )
    figure.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=3)  # below: it hides no seed
    return write_figure(figure, path)
