"""Commands that ask an atlas of single queries: neighbors, classify."""

from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.asking_options import MAP_LABELS, query_options, together_options
from locatlas.cli.common import atlas_option, emit_json, json_option, notice, print_table
from locatlas.cli.scoring_options import TEMPERATURE

_SHOWN = 50
"""Rows of a table on the screen."""


@click.command("neighbors")
@atlas_option
@query_options
@click.option("-k", type=click.IntRange(min=1), help="How many; default: 10, or as many as there are.")
@MAP_LABELS
@json_option
def neighbors_command(
    atlas: Path, image_id: str | None, image: tuple[Path, ...], *, as_json: bool, **asked: Any
) -> None:
    """Images, or with --level protein the proteins, most similar to a protein, an image, or a new image file."""
    from locatlas.query.answers import tables as answers
    from locatlas.query.atlas import open_atlas

    table = open_atlas(atlas).neighbors(id=image_id, image=image or None, **asked)
    document = answers.neighbors_document(table)
    if as_json:
        emit_json(document)
        return
    how = "exact" if document["exact"] else "approximate, re-ranked exactly"
    query = ", ".join(
        f"{key} {' '.join(map(str, v)) if isinstance(v, list) else v}" for key, v in document["query"].items()
    )
    title = f"Neighbors of {query} (level {document['level']}, {document['encoder']['name']}, cosine, {how})"
    columns = ("rank", "id", "protein", "similarity", "localizations")
    hits = [{**hit, "similarity": f"{hit['similarity']:.4f}"} for hit in document["hits"]]
    print_table(columns, [[hit[c] for c in columns] for hit in hits], title=title)
    if document["similarity_context"]:
        click.echo(document["similarity_context"]["said"])
    for note in document["notes"]:
        notice(f"note: {note}")
    if asked["k"] and len(document["hits"]) < asked["k"]:
        notice(f"{len(document['hits'])} of {asked['k']} wanted: no more are left under --exclude {asked['exclude']}")


@click.command("classify")
@atlas_option
@query_options
@click.option("-k", type=click.IntRange(min=1), help="Neighbors that vote; default: 20, or as many as there are.")
@click.option("--weights", type=click.Choice(["uniform", "distance", "softmax"]), default="softmax", show_default=True)
@TEMPERATURE
@click.option("--threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1, min_open=True),
              help="Share of the vote from which a localization is predicted; the top one always is.")  # fmt: skip
@together_options
@MAP_LABELS
@json_option
def classify_command(
    atlas: Path, image_id: str | None, image: tuple[Path, ...], *, as_json: bool, **asked: Any
) -> None:
    """Localization by the vote of the nearest labelled neighbors. Without a query, every image is classified.

    With --by the votes on cells are put together to fields or proteins, and what the cells disagree on is told.
    """
    from locatlas.query.answers import tables as answers
    from locatlas.query.atlas import open_atlas

    table = open_atlas(atlas).classify(id=image_id, image=image or None, **asked)
    document = answers.classify_document(table)
    if as_json:
        emit_json(document)
        return
    if asked["by"]:
        _print_units(document)
    else:
        _print_items(document)
    for note in document["notes"]:
        notice(f"note: {note}")


def _scored(places: list[dict[str, Any]]) -> str | None:
    return ", ".join(f"{p['localization']} {p['score']:.2f}" for p in places) or None


def _labels(document: dict[str, Any]) -> str:
    """Heading of the labels that were there before the vote: cells say where theirs are from."""
    return document["label_source"] or "annotated"


def _print_items(document: dict[str, Any]) -> None:
    items = document["items"]
    rows = [
        (
            item["id"],
            item["protein"],
            ", ".join(item["annotated"]) or None,
            _scored(item["predicted"]),
            ", ".join(item["neighbors"][:3]) or None,
        )
        for item in items[:_SHOWN]
    ]
    how = f"{document['k']} neighbors ({document['weights']} votes, {document['encoder']['name']})"
    columns = ("id", "protein", _labels(document), "predicted (share of votes)", "nearest")
    print_table(columns, rows, title=f"{len(items)} classified by {how}")
    _tell_rest(len(items))


def _print_units(document: dict[str, Any]) -> None:
    units = document["units"]
    rows = [
        (
            unit["id"],
            unit["n_cells"],
            ", ".join(unit["annotated"]) or None,
            _scored(unit["predicted"]),
            ", ".join(f"{v['localization']} {v['cells']}" for v in unit["votes"][:3]) or None,
            unit["heterogeneity"],
            unit["entropy"],
        )
        for unit in units[:_SHOWN]
    ]
    how = document["how"] if document["top"] is None else f"{document['how']} {document['top']:g}"
    title = (
        f"{len(units)} classified by {document['by']}, {how} of cells' votes by {document['k']} neighbors "
        f"({document['weights']} votes, {document['encoder']['name']})"
    )
    columns = (
        document["by"],
        "cells",
        _labels(document),
        "predicted",
        "cells by top class",
        "heterogeneity",
        "entropy",
    )
    print_table(columns, rows, title=title)
    _tell_rest(len(units))


def _tell_rest(n: int) -> None:
    if n > _SHOWN:
        notice(f"first {_SHOWN} of {n}; --json has all")
