"""Figures and tables of a report, with their numbers as CSV beside. Writes files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from locatlas.query.benchmark.figures_confusion import draw_confusion
from locatlas.query.benchmark.figures_per_class import draw_per_class
from locatlas.query.benchmark.figures_reliability import draw_reliability
from locatlas.query.benchmark.write_rows import write_rows
from locatlas.query.figures import FORMATS
from locatlas.query.report.gather import Gathered

__all__ = ["draw_figures", "write_tables"]


def draw_figures(found: Gathered, folder: Path) -> dict[str, list[Path]]:
    """Draw what was measured; nothing where nothing was.

    Args:
        found: What the report tells.
        folder: Where to.

    Returns:
        SVG, PNG and CSV of each figure by its name.

    Raises:
        InputError: If matplotlib is not installed.
    """
    if found.sweep is None or found.summary is None:
        return {}
    stem = folder / "figure_sweep"
    drawn = {"sweep": [found.sweep.plot(stem.with_suffix(suffix)) for suffix in FORMATS]}
    drawn["sweep"].append(write_rows(found.sweep.to_arrow().to_pylist(), stem.with_suffix(".csv")))
    if found.summary.cells[0].confusion is not None:
        drawn["confusion"] = draw_confusion(found.summary, folder / "figure_confusion")
    drawn["per_class"] = draw_per_class([found.summary], folder / "figure_per_class")
    if found.summary.ece is not None:
        drawn["reliability"] = draw_reliability([found.summary], folder / "figure_reliability")
    return drawn


def write_tables(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the tables of the page, each whole, as CSV; a table without rows is left out.

    Args:
        document: What the report tells.
        folder: Where to.
    """
    galleries = [
        {"localization": gallery["localization"], "kind": kind, "rank": rank, **one}
        for gallery in document["galleries"]
        for kind in ("typical", "confused")
        for rank, one in enumerate(gallery[kind], start=1)
    ]
    hits = [{"query": one["asked"], **hit} for one in document["neighbors"] for hit in one["hits"]]
    proteins = document["proteins"]["proteins"] if document["proteins"] else []
    shown = ("level", "name", "fingerprint", "state", "dim", "channels", "passes", "stains", "precision")
    further = ("embedded", "images", "architecture", "weights_sha256", "license", "paper")
    tables: dict[str, Sequence[Mapping[str, Any]]] = {
        "datasets": document["data"]["datasets"],
        "localizations": document["data"]["localizations"],
        "splits": document["data"]["splits"],
        "proteins": proteins,
        "qc": document["qc"],
        "quarantine": document["quarantine"],
        "classes": document["classes"],
        "galleries": galleries,
        "neighbors": hits,
        "encoders": [{name: one[name] for name in (*shown, *further)} for one in document["encoders"]],
    }
    return [write_rows(rows, folder / f"table_{name}.csv") for name, rows in tables.items() if rows]
