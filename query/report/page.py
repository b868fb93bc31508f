"""The page of a report: one HTML file that loads nothing from anywhere. Pure, given the pictures."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

__all__ = ["MOST_LINES", "PlacedFigure", "data_uri", "page"]

MOST_LINES = 25
"""Of a table on the page; the CSV has all."""

_ROWS = {"fov": "fields of view", "cell": "cells"}
_SECTIONS = (
    ("data", "Data set"),
    ("quality", "Quality"),
    ("quarantine", "Quarantine"),
    ("sweep", "Sweep"),
    ("confusion", "Confusion"),
    ("classes", "Classes"),
    ("galleries", "Galleries"),
    ("neighbors", "Neighbors"),
    ("encoders", "Encoders"),
    ("again", "How it was made"),
)
_SCORED = {"confusion", "classes", "galleries"}


@dataclass(frozen=True, slots=True)
class PlacedFigure:
    """A figure on the page.

    Attributes:
        uri: Its picture, as `data:`.
        files: Names of its files beside the page.
    """

    uri: str
    files: tuple[str, ...]


def data_uri(data: bytes, kind: str) -> str:
    """A picture as an address that holds it.

    Args:
        data: The file.
        kind: Its media type, e.g. "image/webp".
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def page(document: Mapping[str, Any], figures: Mapping[str, PlacedFigure], thumbnails: Mapping[str, str]) -> str:
    """The page as HTML 5. Every text is escaped, no script is in it, and its policy lets a browser load nothing.

    Args:
        document: As `ReportDocument` has it.
        figures: By name: sweep, confusion, per_class, reliability; absent ones are left out.
        thumbnails: Pictures by id, as `data:`; of an absent one it is said that there is none.
    """
    folder = files("locatlas.query.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"whole": _whole, "score": _score, "share": _share, "percent": _percent}
    template = environment.from_string(folder.joinpath("report.html.j2").read_text(encoding="utf-8"))
    css = folder.joinpath("report.css").read_text(encoding="utf-8")
    sweep = document["sweep"]
    return template.render(
        d=document,
        css=Markup(css),  # noqa: S704 (our own file)
        figures=figures,
        thumbnails=thumbnails,
        rows=_ROWS[document["level"]],
        rows_one="field" if document["level"] == "fov" else "cell",
        most=MOST_LINES,
        at_k=None if sweep is None else next(one for one in sweep["results"] if one["k"] == document["k"]),
        sections=[(name, said) for name, said in _SECTIONS if sweep is not None or name not in _SCORED],
        protocol="" if sweep is None else _protocol(document),
        interval="" if sweep is None else _interval(sweep),
        left_out="" if sweep is None else ", ".join(f"{n:,} ({why})" for why, n in sweep["left_out"].items() if n),
        neighbor_notes=list(dict.fromkeys(note for one in document["neighbors"] for note in one["notes"])),
    )


def _protocol(document: Mapping[str, Any]) -> str:
    """Who votes for whom, in words."""
    sweep, rows = document["sweep"], _ROWS[document["level"]]
    group = sweep["group"]
    if sweep["folds"]:
        how = f"Grouped {sweep['folds']}-fold (seed {sweep['seed']}): no {group} is in two folds, other folds vote."
    else:
        how = f"Leave one {group} out: the nearest {rows} of every other {group} vote."
    apart = [name for name in sweep["excluded"] if name not in ("id", group)]
    never = ["itself", *(f"its {name}" for name in [*apart, "fold" if sweep["folds"] else group])]
    label_source = f" ({sweep['label_source']} localizations)" if sweep["label_source"] else ""
    votes = (
        f"softmax, T = {sweep['settings']['temperature']:g}" if document["votes"] == "softmax" else document["votes"]
    )
    mapped = f"; localizations mapped {sweep['map_labels']}" if sweep["map_labels"] else ""
    return (
        f"{how} A query never meets {_listed(never)}. {sweep['n']:,} {rows}{label_source} of {sweep['n_groups']:,} "
        f"groups and {len(sweep['classes'])} classes are scored, {sweep['labels']}-label; {sweep['n_rows']:,} may vote"
        f". Votes: {votes}, cosine similarity{mapped}."
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _interval(sweep: Mapping[str, Any]) -> str:
    replicates = sweep["settings"]["bootstrap_replicates"]
    if not any(one["macro_f1_ci95"] for one in sweep["results"]):
        return "There is no interval: fewer than two groups are scored."
    return (
        f"The interval is a 95 % percentile bootstrap over groups ({sweep['group']}) as queries, {replicates:,} "
        f"replicates, seed {sweep['seed']}; too narrow where a class has few groups."
    )


def _whole(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _score(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"


def _share(number: float) -> str:
    return f"{number:.2f}"


def _percent(number: float, of: float) -> str:
    return f"{100 * number / max(of, 1):.1f}"
