"""Draw which class is taken for which. Writes files."""

from pathlib import Path

import numpy as np

from locatlas.errors import InputError
from locatlas.query.benchmark.figures_names import classifier_name, condition
from locatlas.query.benchmark.figures_page import Page
from locatlas.query.benchmark.summary import Summary

__all__ = ["draw_confusion"]

_DARK = 0.55
"""Share from which numbers are white."""


def draw_confusion(one: Summary, stem: Path) -> list[Path]:
    """Draw the confusion matrix of the first seed: colour is the share of the annotated class, numbers are rows.

    Args:
        one: Single-label.
        stem: Path without suffix.

    Returns:
        SVG, PNG, CSV.

    Raises:
        InputError: If there is no confusion matrix, or matplotlib is not installed.
    """
    cell = one.cells[0]
    if cell.confusion is None:
        message = "no confusion matrix: multi-label predictions have none"
        raise InputError(message)
    classes, counts = cell.classes, cell.confusion
    counts = counts if counts[:, -1].any() else counts[:, :-1]
    names = [*classes, "(none)"][: counts.shape[1]]
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals[:, None], 1)
    edge = max(2.4, 0.35 * len(classes))
    sizes = [f"{name}  {n:,}" for name, n in zip(classes, totals, strict=True)]
    page = Page.of([one], [""], panel=(edge + 1.2, edge + 0.9), labels=sizes)
    axes = page.panels[""]
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(True)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.argwhere(counts > 0):
        color = "white" if shares[i, j] > _DARK else "black"
        axes.text(j, i, f"{counts[i, j]}", ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(classes)), sizes, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("annotated, with its rows")
    page.figure.colorbar(image, ax=axes, label="share of the annotated class", shrink=0.6, aspect=26, fraction=0.05)
    rows = [
        {"annotated": classes[i], "predicted": names[j], "n": int(counts[i, j]), "share": float(shares[i, j])}
        for i, j in np.argwhere(counts > 0).tolist()
    ]
    (name,) = page.names.values()
    seed = f"seed {cell.cell.seed}" if len(one.cells) > 1 else ""
    return page.finish(stem, rows, name, ", ".join(filter(None, [classifier_name(one.cell), seed])), condition([one]))
