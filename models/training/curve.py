"""Draw a training from its log: loss, metrics, validation, rate. Writes two files; matplotlib is imported on use."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from locatlas.errors import InputError
from locatlas.models.training.log import read_log
from locatlas.models.training.run_folder import unwritable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_curve", "running_median", "thinned"]

_POINTS = 2000
"""Steps drawn at most; more are thinned evenly."""

_Kind = Literal["noisy", "points", "exact"]

# of Okabe and Ito's colours, told apart with every kind of colour vision
_RAW, _SMOOTH, _VALIDATION = "#9ecae1", "#0072B2", "#D55E00"


def draw_curve(log: Path, folder: Path) -> tuple[Path, Path]:
    """Write `curve.svg` and `curve.png`; existing files are replaced.

    One panel for the loss, with the running median, one for each metric of the steps, one for each of the validation
    part, and one for the learning rate; a legend says which line is which. The horizontal axis is optimizer steps.

    Args:
        log: As `TrainingLog` writes it.
        folder: Where the files go.

    Returns:
        Their paths.

    Raises:
        InputError: If matplotlib is not installed, the log has no step, or the files cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        message = "a curve of the training needs matplotlib: pip install 'locatlas[plot]'"
        raise InputError(message) from error
    lines = read_log(log)
    panels = _panels(lines)
    if not panels:
        message = f"{log}: no step to draw"
        raise InputError(message)
    columns = 1 if len(panels) == 1 else 2
    last = panels[0][1][-1]
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.2 * columns, 0.6 + 2.3 * rows), layout="constrained")
    for place, (title, xs, ys, kind) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        _draw(axes, xs, ys, kind)
        axes.set_xlim(0, last * 1.02)
        axes.set_title(title, fontsize=10, loc="left")
        if place > len(panels) - columns:
            axes.set_xlabel("optimizer step")
    _legend(figure)
    paths = (folder / "curve.svg", folder / "curve.png")
    for path in paths:
        try:
            figure.savefig(path, dpi=130)
        except OSError as error:
            raise unwritable(path, error) from error
    return paths


def _panels(lines: Sequence[dict[str, Any]]) -> list[tuple[str, list[int], list[float], _Kind]]:
    """Title, steps, values and how to draw them; loss first, rate last."""
    steps = [line for line in lines if line["kind"] == "step"]
    looks = [line for line in lines if line["kind"] == "validation"]
    if not steps:
        return []

    def series(of: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
        having = [line for line in of if line["metrics"].get(name) is not None]
        return [line["step"] for line in having], [line["metrics"][name] for line in having]

    xs = [line["step"] for line in steps]
    panels: list[tuple[str, list[int], list[float], _Kind]] = [("loss", xs, [line["loss"] for line in steps], "noisy")]
    kinds: tuple[_Kind, _Kind] = ("noisy", "points")
    for of, before, kind in zip((steps, looks), ("", "validation: "), kinds, strict=True):
        # `score` stands there under its own name, too
        names = sorted({name for line in of for name in line["metrics"]} - {"score"})
        panels += [(before + name.replace("_", " "), *series(of, name), kind) for name in names]
    return [*panels, ("learning rate", xs, [line["lr"] for line in steps], "exact")]


def _draw(axes: "Axes", xs: Sequence[int], ys: Sequence[float], kind: _Kind) -> None:
    if kind == "points":
        axes.plot(xs, ys, color=_VALIDATION, marker="o", markersize=3, label="a look at the validation part")
    else:
        keep = thinned(len(xs), _POINTS)
        kept, values = [xs[i] for i in keep], [ys[i] for i in keep]
        if kind == "noisy":
            axes.plot(kept, values, color=_RAW, linewidth=0.8, label="each step")
            reach = max(1, len(ys) // 50)
            values = running_median(ys, reach, keep)
            axes.plot(kept, values, color=_SMOOTH, linewidth=1.4, label="running median")
        else:
            axes.plot(kept, values, color=_SMOOTH, linewidth=1.4)
    axes.grid(visible=True, color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _legend(figure: "Figure") -> None:
    """One entry for each kind of line, below all panels."""
    entries = {
        label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if entries:
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower left",
            frameon=False,
            fontsize=8,
            ncols=len(entries),
        )


def running_median(values: Sequence[float], reach: int, at: Sequence[int]) -> list[float]:
    """The median of up to `reach` values before each of some positions, itself, and as many after it."""
    return [statistics.median(values[max(0, i - reach) : i + reach + 1]) for i in at]


def thinned(n: int, most: int) -> list[int]:
    """At most `most` positions out of `n`, even, the first and the last among them."""
    if n <= most:
        return list(range(n))
    return [round(i * (n - 1) / (most - 1)) for i in range(most)]
