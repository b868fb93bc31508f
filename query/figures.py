"""What all figures share: made, and written in the format that the name says. matplotlib is imported on first use."""

from pathlib import Path
from typing import Any

from locatlas.errors import InputError

__all__ = ["new_figure", "write_figure"]


def new_figure(path: Path) -> tuple[Any, Any]:
    """An empty figure of 6 x 4 inches and its axes, without frame above and at the right.

    Args:
        path: Where it will be written; its suffix decides the format: .svg, .png, .pdf.

    Raises:
        InputError: If matplotlib is not installed or does not know the format.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        message = "a figure needs matplotlib: pip install 'locatlas[plot]'"
        raise InputError(message) from error
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    formats = FigureCanvasAgg(figure).get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in formats:
        message = f"{path}: format {path.suffix!r} is not known; known: {', '.join(sorted(formats))}"
        raise InputError(message)
    axes = figure.add_subplot()
    axes.grid(visible=True, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def write_figure(figure: Any, path: Path) -> Path:
    """Write a figure; an existing file is replaced.

    Returns:
        The path.
    """
    figure.savefig(path, dpi=160)
    return path
