"""What all figures share: made, and written in the format that the name says. matplotlib is imported on first use."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from locatlas.errors import InputError

__all__ = ["check_matplotlib", "new_figure", "new_panels", "write_figure", "write_formats"]

FORMATS = (".svg", ".png")
"""Of figures that are written more than once: one to print, one to look at."""


def check_matplotlib() -> None:
    """Before anything is measured for a figure.

    Raises:
        InputError: If matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        message = "a figure needs matplotlib: pip install 'locatlas[plot]'"
        raise InputError(message)


def new_figure(path: Path) -> tuple[Any, Any]:
    """An empty figure of 6 x 4 inches and its axes, without frame above and at the right.

    Args:
        path: Where it will be written; its suffix decides the format: .svg, .png, .pdf.

    Raises:
        InputError: If matplotlib is not installed or does not know the format.
    """
    figure, panels = new_panels()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    formats = FigureCanvasAgg(figure).get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in formats:
        message = f"{path}: format {path.suffix!r} is not known; known: {', '.join(sorted(formats))}"
        raise InputError(message)
    return figure, panels[0][0]


def new_panels(
    n_rows: int = 1, n_columns: int = 1, *, size: tuple[float, float] = (6.0, 4.0), heights: Sequence[float] = ()
) -> tuple[Any, list[list[Any]]]:
    """An empty figure and its axes, which share both scales along rows and columns.

    Args:
        n_rows: Of panels.
        n_columns: Of panels.
        size: Width and height of the figure in inches.
        heights: Of the rows, relative; equal without.

    Returns:
        The figure, and its axes by row.

    Raises:
        InputError: If matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    found = figure.subplots(
        n_rows, n_columns, sharex="col", sharey="row", squeeze=False, height_ratios=heights or [1] * n_rows
    )
    for axes in found.flat:
        axes.grid(visible=True, color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, [list(row) for row in found]


def write_figure(figure: Any, path: Path) -> Path:
    """Write a figure; an existing file is replaced. The same figure is the same file, whenever it is written.

    Returns:
        The path.
    """
    from matplotlib import rc_context

    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "locatlas"}):
        figure.savefig(path, dpi=160, metadata=dated.get(path.suffix.lower()))
    return path


def write_formats(figure: Any, stem: Path) -> list[Path]:
    """Write a figure in each of `FORMATS`.

    Args:
        figure: What to write.
        stem: Path without suffix; dots in its name are no suffix.

    Returns:
        The paths.
    """
    return [write_figure(figure, stem.with_name(stem.name + suffix)) for suffix in FORMATS]
