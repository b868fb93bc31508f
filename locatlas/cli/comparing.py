"""The command that compares two encoders of an atlas: compare."""

from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.asking_options import ENCODER, LABEL_SOURCE, LEVEL, MAP_LABELS, WHERE, profile_options
from locatlas.cli.common import (
    atlas_option,
    emit_json,
    interval,
    json_option,
    notice,
    print_table,
    trained_on_line,
    write_csv,
)
from locatlas.cli.scoring_options import TEMPERATURE


@click.command("compare")
@atlas_option
@ENCODER
@click.option(
    "--with",
    "with_encoder",
    metavar="NAME",
    help="The old encoder, by name or fingerprint; default: the one that the other was trained from.",
)
@LEVEL
@click.option("-k", type=click.IntRange(min=1), help="Neighbors; default: 20, or as many as every row may meet.")
@click.option(
    "--group",
    default="protein",
    show_default=True,
    metavar="NAME",
    help="Column whose values are no neighbors of their own, and that the intervals draw.",
)
@click.option(
    "--exclude",
    type=click.Choice(["self", "fov", "protein"]),
    default="protein",
    show_default=True,
    help="What else never meets.",
)
@click.option(
    "--labels",
    type=click.Choice(["single", "multi"]),
    default="single",
    show_default=True,
    help="single: vote on images with exactly one localization; multi: on all that have any.",
)
@click.option(
    "--weights",
    type=click.Choice(["uniform", "distance", "softmax"]),
    default="uniform",
    show_default=True,
    help="Of the votes.",
)
@TEMPERATURE
@LABEL_SOURCE
@MAP_LABELS
@profile_options
@WHERE
@click.option(
    "--allow-training-groups",
    is_flag=True,
    help="Score what an encoder was trained on, too; else it is a neighbor, but only held-out rows are scored.",
)
@click.option("--seed", default=0, show_default=True, type=int, help="Of the bootstrap.")
@click.option("--device", default="cpu", show_default=True, help="Where the search runs, e.g. cuda; same result.")
@click.option("--csv", "csv", type=click.Path(path_type=Path), help="Write the table of what moved.")
@json_option
def compare_command(atlas: Path, with_encoder: str | None, csv: Path | None, *, as_json: bool, **asked: Any) -> None:
    """What an encoder changes against an older one: neighbors, F1, and which proteins moved most."""
    from locatlas.query.atlas import open_atlas

    found = open_atlas(atlas).compare(with_encoder, **asked)
    if csv is not None:
        write_csv(found.to_arrow(), csv)
    document = found.to_dict()
    if as_json:
        emit_json(document)
        return
    _show(document)


def _show(document: dict[str, Any]) -> None:
    """Print a comparison."""
    near, scores = document["neighbors"], document["classification"]
    from locatlas.types import ROW

    images = f"{ROW[document['level']]}s"
    click.echo(
        f"{document['encoders']['new']['name']} against {document['encoders']['old']['name']}: "
        f"{document['n_queries']} of {document['n_rows']} {images} scored, "
        f"{document['n_groups']} groups ({document['group']})"
    )
    bounds = interval(near["overlap_ci95"])
    click.echo(
        f"{near['overlap']:.1%} of the {document['k']} nearest neighbors are the same"
        f"{f' (95 % interval {bounds})' if bounds else ''}; {near['chance']:.1%} expected by chance; "
        f"mean change of rank {near['rank_change']:.1f}"
    )
    if scores is not None:
        rows = [_score_row("macro F1", scores["macro_f1"])]
        rows += [_score_row(name, one) for name, one in scores["per_class_f1"].items()]
        columns = ("F1", "new", "old", "difference", "95 % interval", images, "groups")
        print_table(columns, rows, title=f"k-NN localization at k = {document['k']}, {scores['labels']}-label")
    moved = document["moved"][:10]
    print_table(
        (document["by"], "moved", "change of rank", images),
        [(one["name"], one["moved"], one["rank_change"], one["n_rows"]) for one in moved],
        title=f"moved most: share of neighbors that are others now, first {len(moved)} of {len(document['moved'])}",
    )
    for said in document["trained_on"].values():
        if said is not None:
            click.echo(trained_on_line(said))
    for note in document["notes"]:
        notice(f"note: {note}")
    left_out = document["left_out"] | (scores["left_out"] if scores else {})
    for reason, count in left_out.items():
        notice(f"left out: {count} ({reason})")


def _score_row(name: str, one: dict[str, Any]) -> tuple[Any, ...]:
    return name, one["new"], one["old"], one["difference"], interval(one["ci95"]), one["support"], one["n_groups"]
