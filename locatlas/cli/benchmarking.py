"""The command that measures a grid: benchmark."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click import get_current_context
from click.core import ParameterSource

from locatlas.cli.asking_options import LABEL_SOURCE, MAP_LABELS, WHERE
from locatlas.cli.common import emit_json, interval, json_option, notice, print_table, written
from locatlas.cli.progress import progress_bar
from locatlas.cli.result_folder import result_folder, sign

if TYPE_CHECKING:
    from locatlas.query.benchmark.grid import Grid


@click.command("benchmark")
@click.argument("grid", required=False)
@click.option(
    "--atlas",
    "-a",
    type=click.Path(path_type=Path),
    help="Folder of the atlas, or its address (s3://BUCKET/PREFIX).",
    metavar="FOLDER",
)
@click.option(
    "--encoder",
    "-e",
    "encoders",
    multiple=True,
    metavar="NAME",
    help="Measure this one in place of the grid's encoders, with all of its plans; `current` for the atlas' own. May "
    "be given several times.",
)
@WHERE
@MAP_LABELS
@LABEL_SOURCE
@click.option(
    "--group", metavar="NAME", help="Column that must not be split and that intervals draw; default: protein."
)
@click.option(
    "--min-groups",
    type=click.IntRange(min=1),
    metavar="N",
    help="With labels `single`, leave out classes of fewer groups; in place of the grid's number (10 in the paper's).",
)
@click.option("--list", "listing", is_flag=True, help="Name the grids that come with locatlas.")
@click.option("--show", is_flag=True, help="Print the grid's TOML, to begin one of your own.")
@click.option("--dry-run", is_flag=True, help="Only say what would be measured.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="For tables and figures; those there are replaced. Default: benchmarks/GRID in the atlas, with --encoder "
    "benchmarks/GRID-NAME.",
)
@click.option("--device", default="cpu", show_default=True, help="Where searches and heads run, e.g. cuda.")
@json_option
def benchmark_command(
    grid: str | None,
    atlas: Path | None,
    out: Path | None,
    encoders: tuple[str, ...],
    device: str,
    where: tuple[str, ...],
    map_labels: str | None,
    label_source: str,
    group: str | None,
    min_groups: int | None,
    *,
    listing: bool,
    show: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Measure a grid: encoders, channel plans, protocols, classifiers, fractions, seeds; one table, with figures.

    GRID is a name of --list or a TOML file. What was measured before is not again, so that the same command goes on
    after a kill. Vectors that are missing are made beside the current encoder, which stays current.
    """
    from locatlas.query.benchmark.grid import load_grid
    from locatlas.query.benchmark.grid_checks import check_grid

    if listing:
        _list(as_json=as_json)
        return
    if grid is None:
        message = "Missing argument 'GRID': one of `locatlas benchmark --list`, or a .toml file"
        raise click.UsageError(message)
    if show:
        from locatlas.query.benchmark.grid import grid_text

        click.echo(grid_text(grid)[0], nl=False)
        return
    given = {"where": list(where) or None, "map_labels": map_labels, "group": group, "min_groups": min_groups}
    said = get_current_context().get_parameter_source("label_source") is not ParameterSource.DEFAULT
    given["label_source"] = label_source if said else None
    chosen = load_grid(grid).with_encoders(encoders).with_settings(given)
    check_grid(chosen, f"grid {chosen.name}")
    if dry_run:
        _plan(chosen, as_json=as_json)
        return
    if atlas is None:
        message = "Missing option '--atlas' / '-a'."
        raise click.UsageError(message)
    from locatlas.query.benchmark.run import benchmark

    with written(atlas, f"benchmark {grid}") as place:
        folder = out or result_folder(place.path, grid, encoders)
        with progress_bar() as progress:
            result = benchmark(atlas=atlas, grid=chosen, device=device, progress=progress, tell=notice)
        files = result.write(folder)
        if out is None:
            sign(folder, grid)
    document = {**result.to_dict(), "folder": str(folder), "files": [path.name for path in files]}
    if as_json:
        emit_json(document)
        return
    _show(document)


def _list(*, as_json: bool) -> None:
    from locatlas.query.benchmark.grid import list_grids, load_grid

    grids = [load_grid(name) for name in list_grids()]
    if as_json:
        emit_json([{"name": one.name, "title": one.title, "question": one.question} for one in grids])
        return
    print_table(("grid", "what"), [(one.name, one.title) for one in grids])


def _plan(grid: "Grid", *, as_json: bool) -> None:
    """Tell what a grid measures."""
    from locatlas.query.benchmark.run import planned

    work, left_out = planned(grid)
    n = sum(map(len, work.values()))
    tunings = {
        cell.without("classifier", "k", "votes")
        for cells in work.values()
        for cell in cells
        if cell.objective != "frozen"
    }
    if as_json:
        emit_json({
            "grid": grid.name, "n_cells": n, "n_trainings": len(tunings),
            "encoders": {str(variant): len(cells) for variant, cells in work.items()}, "left_out": dict(left_out),
        })  # fmt: skip
        return
    print_table(("encoder", "cells"), [(str(v), len(cells)) for v, cells in work.items()], title=grid.title)
    click.echo(f"{n} cells" + (f", {len(tunings)} fine-tunings" if tunings else ""))
    _left_out(left_out)


def _left_out(reasons: dict[str, int] | Counter[str]) -> None:
    for reason, count in reasons.items():
        notice(f"not measured: {count} ({reason})")


def _show(document: dict[str, Any]) -> None:
    """Print what a grid came to."""
    from locatlas.query.benchmark.paired import plan_words
    from locatlas.query.benchmark.tables import by_condition, how_many_seeds

    click.echo(f"{document['grid']['title']}: {document['n_cells']} cells, {document['n_measured']} measured now")
    for title, rows in by_condition(document["summaries"]).items():
        columns = ("encoder and plan", "by", "fraction", "seeds", "macro F1", "SD", "95 % interval", "accuracy", "ECE")
        lines = [
            (
                plan_words(row),
                row["classifier"] if row["k"] is None else f"{row['k']}-NN {row['votes']}",
                f"{row['fraction']:g}",
                how_many_seeds(row),
                row["macro_f1"],
                row["macro_f1_sd"],
                interval(row["macro_f1_ci95"]),
                row["accuracy"],
                row["ece"],
            )
            for row in rows
        ]
        print_table(columns, lines, title=title)
    if document["comparisons"]:
        pairs = [
            (
                one["first"],
                one["second"],
                one["classifier"] if one["k"] is None else f"{one['k']}-NN",
                one["protocol"],
                f"{one['difference']:+.3f}",
                interval(one["ci95"]),
                one["detectable"],
                one["p_holm"],
            )
            for one in document["comparisons"]
        ]
        heads = ("first", "second", "by", "protocol", "difference", "95 % interval", "detectable", "p (Holm)")
        print_table(heads, pairs, title="macro F1 of the first less that of the second, on the same groups")
    for one in document["published"]:
        at_least = "at least " if one["at_least"] else ""
        spread = f" ± {one['spread']:g}" if one["spread"] else ""
        click.echo(f"published: {at_least}{one['value']:g}{spread}: {one['condition']} ({one['source']})")
    _show_orderings(document["orderings"])
    if document["grid"]["caution"]:
        notice(f"caution: {document['grid']['caution']}")
    for note in document["notes"]:
        notice(f"note: {note}")
    _left_out(document["left_out"])
    for reason, count in document["left_out_rows"].items():
        notice(f"left out: {count} rows ({reason})")
    if not any(name.startswith("figure_") for name in document["files"]):
        notice("no figures: they need matplotlib, pip install 'locatlas[plot]'")
    click.echo(f"tables and figures: {document['folder']}")


def _show_orderings(orderings: list[dict[str, Any]]) -> None:
    """Print what others say of which does better, beside what was measured."""
    if not orderings:
        return
    rows = [
        (
            one["better"],
            one["worse"],
            one["classifier"] if one["k"] is None else f"{one['k']}-NN",
            one["protocol"],
            f"{one['difference']:+.3f}",
            interval(one["ci95"]),
            one["verdict"],
        )
        for one in orderings
    ]
    heads = ("published as better", "than", "by", "protocol", "difference", "95 % interval", "here")
    print_table(heads, rows, title="what others say of which does better, and what was measured here")
    for text in dict.fromkeys(f"{one['text']}: {one['condition']} ({one['source']})" for one in orderings):
        click.echo(f"published: {text}")
