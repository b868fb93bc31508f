"""Draw a map, coloured by localization. Writes one file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from locatlas.query.figures import new_figure, write_figure
from locatlas.query.map.stored import MapPoints

__all__ = ["COLOURED", "classes_shown", "plot_map"]

# Okabe and Ito's colours, told apart with every kind of colour vision; each with a shape of its own, since a yellow and
# an orange dot of this size are close on paper
STYLES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
    ("#B8A800", "*"),  # their yellow, darker: on white it cannot be seen
)
COLOURED = 2 * len(STYLES)
"""Classes that have a style: the second half the same colours and shapes, hollow."""

OTHERS = ("other classes", "several", "not labelled")
_GREYS = {"other classes": "0.55", "several": "0.72", "not labelled": "0.85"}

WORDS = {"fov": "FOVs", "cell": "cells", "protein": "proteins"}

RASTER_FROM = 5000
"""Points from which on they are pixels in an SVG or PDF: as shapes they would be megabytes."""


def classes_shown(localizations: Sequence[frozenset[str]]) -> list[str]:
    """What each point is shown as: its class if it has one, and that is among the most frequent; else one of `OTHERS`.

    Args:
        localizations: Of each point, a set.

    Returns:
        (n,) names; at most as many classes as there are styles.
    """
    single = [next(iter(names)) if len(names) == 1 else None for names in localizations]
    counts = Counter(name for name in single if name is not None)
    # by number, then name, so that the same atlas always has the same colours
    frequent = {name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:COLOURED]}

    def shown(name: str | None, names: frozenset[str]) -> str:
        if name is None:
            return "several" if names else "not labelled"
        return name if name in frequent else "other classes"

    return [shown(name, names) for name, names in zip(single, localizations, strict=True)]


def plot_map(points: MapPoints, localizations: Sequence[frozenset[str]], path: Path) -> Path:
    """Write the figure; an existing file is replaced.

    Args:
        points: What to draw.
        localizations: Of each point, a set.
        path: Its suffix decides the format: .svg, .png, .pdf.

    Returns:
        The path.

    Raises:
        InputError: If matplotlib is not installed or does not know the format.
    """
    figure, axes = new_figure(path)
    figure.set_size_inches(8.0, 5.2)
    shown = np.array(classes_shown(localizations))
    counts = Counter(shown.tolist())
    classes = sorted(counts.keys() - set(OTHERS), key=lambda name: (-counts[name], name))
    size = float(np.clip(6000 / max(len(points), 1), 3, 28))
    # what says least lies below
    for name in [*reversed(OTHERS), *reversed(classes)]:
        if not counts[name]:
            continue
        place = classes.index(name) if name in classes else 0
        color, marker = STYLES[place % len(STYLES)] if name in classes else (_GREYS[name], "o")
        filled = place < len(STYLES)
        xy = _of(points.xy, shown == name)
        axes.scatter(
            xy[:, 0],
            xy[:, 1],
            s=size,
            facecolors=color if filled else "none",
            edgecolors="none" if filled else color,
            marker=marker,
            linewidths=0 if filled else 0.25 * size**0.5,
            alpha=0.9 if name in classes else 0.6,
            label=f"{name} ({counts[name]})".replace("$", r"\$"),  # which matplotlib takes for mathematics
            rasterized=len(points) > RASTER_FROM,
        )
    axes.grid(visible=False)
    axes.set_aspect("equal", adjustable="datalim")  # a distance means the same in both directions
    if points.method == "pca":
        for axis, share, n in zip((axes.xaxis, axes.yaxis), points.used["explained_variance"], (1, 2), strict=True):
            axis.set_label_text(f"principal component {n} ({100 * share:.0f} % of the variance)")
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        word = {"umap": "UMAP", "tsne": "t-SNE"}[points.method]
        axes.set_xlabel(f"{word} 1")
        axes.set_ylabel(f"{word} 2")
    params = ", ".join(f"{name} {value}" for name, value in points.params.items() if points.method != "pca")
    axes.set_title(
        f"{len(points)} {WORDS[points.level]}, {points.encoder}{f' ({params})' if params else ''}".replace("$", r"\$"),
        fontsize=10,
    )
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8,
        markerscale=(28 / size) ** 0.5,
    )  # fmt: skip
    return write_figure(figure, path)


def _of(xy: NDArray[np.float32], rows: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Some points, in an order that has nothing to do with their ids: the last of a class would lie on top."""
    return xy[np.random.default_rng(0).permutation(np.flatnonzero(rows))]
