"""Commands that measure an atlas: sweep, proteins."""

from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.asking_options import (
    ENCODER,
    LABEL_SOURCE,
    LEVEL,
    MAP_LABELS,
    WHERE,
    profile_options,
    together_options,
    training_options,
)
from locatlas.cli.common import (
    atlas_option,
    emit_json,
    interval,
    json_option,
    notice,
    number_list,
    print_table,
    trained_on_line,
    write_csv,
)
from locatlas.cli.scoring_options import GROUP, LABELS, NEVER_VOTES, TEMPERATURE, THRESHOLD


@click.command("sweep")
@atlas_option
@click.option(
    "--ks",
    callback=number_list,
    metavar="K,...",
    help="Default: 1,3,5,10,20,50,100,200 as far as there are references enough.",
)
@GROUP
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
@TEMPERATURE
@THRESHOLD
@LABELS
@LEVEL
@NEVER_VOTES
@LABEL_SOURCE
@MAP_LABELS
@profile_options
@together_options
@WHERE
@ENCODER
@training_options
@click.option("--sample", type=click.IntRange(min=1), help="Ask so many images only, drawn by the seed; all vote.")
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
        write_csv(result.to_arrow(), csv)
    if as_json:
        emit_json(result.to_dict())
        return
    document = result.to_dict()
    from locatlas.types import ROW

    images = f"{ROW[document['level']]}s"
    of = images if document["by"] is None else f"units ({document['by']}, {document['settings']['how']})"
    title = (
        f"{document['n']} {of} of {document['n_groups']} groups ({document['group']}), {len(document['classes'])} "
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
    if document["trained_on"] is not None:
        click.echo(trained_on_line(document["trained_on"]))
    for note in document["notes"]:
        notice(f"note: {note}")
    for reason, count in document["left_out"].items():
        if count:
            # more than half of what has labels
            hint = "; --labels multi takes them" if reason == "several labels" and count > document["n_rows"] else ""
            notice(f"left out: {count} ({reason}){hint}")


@click.command("proteins")
@atlas_option
@click.option(
    "--of",
    type=click.Choice(["fov", "cell"]),
    help="Images that are compared; default: FOVs, or cells where there are none.",
)
@click.option("-k", type=click.IntRange(min=1), help="Neighbors that vote on each cell: adds heterogeneity.")
@click.option(
    "--exclude",
    default="protein",
    show_default=True,
    metavar="none|self|fov|protein|COLUMN",
    help="With -k: what a cell must not meet.",
)
@click.option(
    "--sort",
    type=click.Choice(["protein", "within", "auc", "heterogeneity"]),
    default="protein",
    show_default=True,
    help="The best first.",
)
@click.option("--worst-first", is_flag=True, help="The other way round.")
@click.option(
    "--map",
    "mean_average_precision",
    is_flag=True,
    help="Add mean average precision with p, by copairs (extra copairs; at most 8,000 images).",
)
@LABEL_SOURCE
@WHERE
@ENCODER
@click.option("--seed", default=0, show_default=True, type=int, help="Of pairs that are drawn where they are too many.")
@click.option("--csv", "csv", type=click.Path(path_type=Path), help="Write the table.")
@json_option
def proteins_command(atlas: Path, csv: Path | None, *, as_json: bool, **asked: Any) -> None:
    """How much the images of each protein resemble each other, against those of other proteins."""
    from locatlas.query.answers import tables as answers
    from locatlas.query.atlas import open_atlas

    table = open_atlas(atlas).proteins(**asked)
    if csv is not None:
        write_csv(table, csv)
    document = answers.proteins_document(table)
    if as_json:
        emit_json(document)
        return
    names = ["protein", "n_fovs", "n_cells", "localizations", "within", "n_within", "between", "between_sd", "auc"]
    names += ["heterogeneity", "entropy"] if asked["k"] else []
    names += ["map", "map_p", "map_p_fdr"] if asked["mean_average_precision"] else []
    words = {"n_fovs": "FOVs", "n_cells": "cells", "n_within": "pairs", "between_sd": "SD", "auc": "AUC"}
    words |= {"map": "mAP", "map_p": "p", "map_p_fdr": "p (FDR)"}
    proteins = document["proteins"]
    title = f"{len(proteins)} proteins by their {document['of']} images ({document['encoder']['name']}, cosine)"
    print_table([words.get(n, n) for n in names], [[p[n] for n in names] for p in proteins[:50]], title=title)
    if len(proteins) > 50:
        notice(f"first 50 of {len(proteins)}; --json and --csv have all")
    overall = document["overall"]
    if overall["auc"] is not None:
        click.echo(
            f"all proteins: within {overall['within']:.3f} ({overall['n_within']} pairs of other fields), between "
            f"{overall['between']:.3f} ± {overall['between_sd']:.3f}, AUC {overall['auc']:.3f}"
        )
    for note in document["notes"]:
        notice(f"note: {note}")
