"""Commands that ask an atlas: neighbors, classify, sweep."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.common import (
    atlas_option,
    emit_json,
    interval,
    json_option,
    name_list,
    notice,
    number_list,
    print_table,
)

_LEVEL = click.option(
    "--level",
    type=click.Choice(["fov", "cell", "protein"]),
    help="What is searched; default: the first image level the atlas has. protein: means of the proteins' images.",
)
_ENCODER = click.option("--encoder", "-e", help="Name or fingerprint; default: the current one.", metavar="NAME")
_WHERE = click.option(
    "--where", "-w", multiple=True, metavar="FILTER", help="e.g. dataset=opencell, localizations=er, cell_line!=U-2 OS."
)
_MAP_LABELS = click.option(
    "--map-labels", metavar="FROM:TO", help="Bring localizations into one vocabulary, e.g. hpa:opencell."
)
_LABEL_SOURCE = click.option(
    "--label-source",
    type=click.Choice(["inherited", "annotated"]),
    default="inherited",
    show_default=True,
    help="Localizations that count: those a cell inherits from its protein, field or data set, or, for annotated cells "
    "only, their own. Never both.",
)
_EXCLUDE = click.option(
    "--exclude",
    default="protein",
    show_default=True,
    metavar="none|self|fov|protein|COLUMN",
    help="What a query must not meet; each includes those before. COLUMN: itself, its FOV and its equals, e.g. plate.",
)


def _profile_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--of", type=click.Choice(["fov", "cell"]),
                     help="With --level protein: what it is made of; default: FOVs, or cells where there are none."),
        click.option("--profile", type=click.Choice(["mean", "medoid"]),
                     help="With --level protein: the mean of its images' unit vectors (default), or their medoid."),
    ):  # fmt: skip
        command = option(command)
    return command


def _query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        [
            click.option("--protein", "-p", help="Gene symbol.", metavar="NAME"),
            click.option("--id", "image_id", help="Id of an image in the atlas."),
            click.option(
                "--image",
                multiple=True,
                type=click.Path(path_type=Path),
                help="A new image; give it once per file where each channel has its own.",
            ),
            click.option(
                "--channels",
                callback=name_list,
                metavar="NAME,...",
                help="Meanings of the new image's planes or files, in order, e.g. nucleus,protein.",
            ),
            click.option("--pixel-size-um", type=click.FloatRange(min=0, min_open=True), help="Of the new image."),
            _LEVEL,
            _EXCLUDE,
            _WHERE,
            _LABEL_SOURCE,
            _profile_options,
            click.option("--exact/--approximate", default=None, help="Default: the FAISS index where there is one."),
            _ENCODER,
        ]
    ):
        command = option(command)
    return command


@click.command("neighbors")
@atlas_option
@_query_options
@click.option("-k", type=click.IntRange(min=1), help="How many; default: 10, or as many as there are.")
@json_option
def neighbors_command(
    atlas: Path, image_id: str | None, image: tuple[Path, ...], *, as_json: bool, **asked: Any
) -> None:
    """Images, or with --level protein the proteins, most similar to a protein, an image, or a new image file."""
    from locatlas.query import answers
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
    for note in document["notes"]:
        notice(f"note: {note}")
    if asked["k"] and len(document["hits"]) < asked["k"]:
        notice(f"{len(document['hits'])} of {asked['k']} wanted: no more are left under --exclude {asked['exclude']}")


@click.command("classify")
@atlas_option
@_query_options
@click.option("-k", type=click.IntRange(min=1), help="Neighbors that vote; default: 20, or as many as there are.")
@click.option("--weights", type=click.Choice(["uniform", "distance", "softmax"]), default="softmax", show_default=True)
@click.option("--temperature", default=0.07, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option("--threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1, min_open=True),
              help="Share of the vote from which a localization is predicted; the top one always is.")  # fmt: skip
@_MAP_LABELS
@json_option
def classify_command(
    atlas: Path, image_id: str | None, image: tuple[Path, ...], *, as_json: bool, **asked: Any
) -> None:
    """Localization by the vote of the nearest labelled neighbors. Without a query, every image is classified."""
    from locatlas.query import answers
    from locatlas.query.atlas import open_atlas

    table = open_atlas(atlas).classify(id=image_id, image=image or None, **asked)
    items = table.to_pylist()
    if as_json:
        emit_json({**answers.context(table), "weights": asked["weights"], "items": items})
        return
    rows = [
        (
            item["id"],
            item["protein"],
            ", ".join(item["annotated"]) or None,
            ", ".join(f"{p['localization']} {p['score']:.2f}" for p in item["predicted"]) or None,
            ", ".join(item["neighbors"][:3]) or None,
        )
        for item in items
    ]
    said = answers.context(table)
    title = f"{len(rows)} classified by {said['k']} neighbors ({asked['weights']} votes, {said['encoder']['name']})"
    print_table(("id", "protein", "annotated", "predicted (share of votes)", "nearest"), rows[:50], title=title)
    for note in said["notes"]:
        notice(f"note: {note}")
    if len(rows) > 50:
        notice(f"first 50 of {len(rows)}; --json has all")


@click.command("sweep")
@atlas_option
@click.option(
    "--ks",
    callback=number_list,
    metavar="K,...",
    help="Default: 1,3,5,10,20,50,100,200 as far as there are references enough.",
)
@click.option("--group", default="protein", show_default=True, help="Column that must not be split.", metavar="NAME")
@click.option(
    "--protocol", type=click.Choice(["leave-group-out", "kfold"]), default="leave-group-out", show_default=True
)
@click.option("--folds", default=5, show_default=True, type=click.IntRange(min=2), help="Of kfold.")
@click.option("--seed", default=0, show_default=True, type=int, help="Of folds and bootstrap.")
@click.option(
    "--weights",
    type=click.Choice(["uniform", "distance", "softmax"]),
    multiple=True,
    default=("uniform",),
    show_default=True,
    help="May be given several times.",
)
@click.option("--temperature", default=0.07, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option("--threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1, min_open=True))
@click.option(
    "--labels",
    type=click.Choice(["single", "multi"]),
    default="single",
    show_default=True,
    help="single: images with exactly one localization; multi: all that have any.",
)
@_LEVEL
@click.option(
    "--exclude",
    type=click.Choice(["self", "fov", "protein"]),
    default="protein",
    show_default=True,
    help="What else never votes, beside the query's group.",
)
@_LABEL_SOURCE
@_MAP_LABELS
@_profile_options
@_WHERE
@_ENCODER
@click.option("--device", default="cpu", show_default=True, help="Where the search runs, e.g. cuda; same result.")
@click.option("--plot", "plot", type=click.Path(path_type=Path), help="Draw macro F1 against k (svg, png, pdf).")
@click.option("--csv", "csv", type=click.Path(path_type=Path), help="Write the table.")
@json_option
def sweep_command(atlas: Path, plot: Path | None, csv: Path | None, *, as_json: bool, **asked: Any) -> None:
    """How well neighbors recover the annotated localizations, at every neighborhood size."""
    from locatlas.query.atlas import open_atlas

    result = open_atlas(atlas).sweep(**asked)
    if plot is not None:
        result.plot(plot)
        notice(f"drawn: {plot}")
    if csv is not None:
        from pyarrow import csv as arrow_csv

        arrow_csv.write_csv(result.to_arrow(), csv)
        notice(f"written: {csv}")
    if as_json:
        emit_json(result.to_dict())
        return
    document = result.to_dict()
    title = (
        f"{document['n']} images of {document['n_groups']} groups ({document['group']}), {len(document['classes'])} "
        f"classes, {document['protocol']}, {asked['labels']}-label, {document['encoder']['name']}"
    )
    columns = ("k", "votes", "macro F1", "95 % interval", "SD", "micro F1", "accuracy", "balanced")
    rows = [
        (
            r["k"],
            r["weights"],
            r["macro_f1"],
            interval(r["macro_f1_ci95"]),
            r["macro_f1_sd"],
            r["micro_f1"],
            r["accuracy"],
            r["balanced_accuracy"],
        )
        for r in document["results"]
    ]
    print_table(columns, rows, title=title)
    for note in document["notes"]:
        notice(f"note: {note}")
    for reason, count in document["left_out"].items():
        if count:
            notice(f"left out: {count} ({reason})")
