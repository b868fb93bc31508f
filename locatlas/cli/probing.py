"""The command that trains heads on frozen vectors: probe."""

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
)
from locatlas.cli.progress import progress_bar
from locatlas.cli.scoring_options import GROUP, LABELS


def _shares(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Option callback: "0.2,1" to (0.2, 1.0)."""
    try:
        shares = tuple(float(part) for part in value.split(",") if part.strip())
    except ValueError:
        shares = ()
    if not shares or not all(0 < share <= 1 for share in shares):
        message = f"{value!r}: numbers in (0, 1] joined by commas needed, e.g. 0.2,0.4,0.6,0.8,1"
        raise click.BadParameter(message, ctx=ctx, param=param)
    return shares


@click.command("probe")
@atlas_option
@click.option(
    "--head",
    type=click.Choice(["linear", "mlp", "wide"]),
    default="linear",
    show_default=True,
    help="linear; mlp: d-512-256-classes with dropout; wide: one hidden layer of 1024.",
)
@LABELS
@click.option("--loss", type=click.Choice(["ce", "bce", "focal"]), help="Default: ce for single, bce for multi.")
@GROUP
@click.option("--folds", default=5, show_default=True, type=click.IntRange(min=2), help="Of groups.")
@click.option(
    "--fractions",
    default="1.0",
    show_default=True,
    callback=_shares,
    metavar="SHARE,...",
    help="Shares of the groups outside a fold to train on, nested, e.g. 0.2,0.4,0.6,0.8,1.",
)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Repeats with other folds.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="The first of them.")
@click.option(
    "--validation",
    default=0.2,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the groups outside a fold by which training is stopped.",
)
@click.option(
    "--threshold",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="With --labels multi.",
)
@click.option("--steps", default=500, show_default=True, type=click.IntRange(min=1), help="Most optimizer steps.")
@click.option(
    "--lr",
    type=click.FloatRange(min=0, min_open=True),
    help="Learning rate; default: 0.01 of a linear head, 0.001 of others.",
)
@LEVEL
@LABEL_SOURCE
@MAP_LABELS
@profile_options
@WHERE
@ENCODER
@click.option(
    "--held-out", is_flag=True, help="Score only what the encoder was not trained on; heads are trained on all."
)
@click.option(
    "--allow-training-groups", is_flag=True, help="Score what the encoder was trained on, too, as if it were new."
)
@click.option("--device", default="cpu", show_default=True, help="Where heads are trained, e.g. cuda.")
@click.option("--plot", "plot", type=click.Path(path_type=Path), help="Draw macro F1 by fraction (svg, png, pdf).")
@json_option
def probe_command(atlas: Path, plot: Path | None, *, as_json: bool, **asked: Any) -> None:
    """How well heads trained on the vectors do: frozen backbone, trained head (what the paper calls zero-shot)."""
    from locatlas.query.atlas import open_atlas

    with progress_bar() as progress:
        result = open_atlas(atlas).probe(**asked, progress=progress)
    if plot is not None:
        result.plot(plot)
        notice(f"drawn: {plot}")
    document = result.to_dict()
    if as_json:
        emit_json(document)
        return
    _print_scores(document)
    if document["trained_on"] is not None:
        click.echo(trained_on_line(document["trained_on"]))
    for note in document["notes"]:
        notice(f"note: {note}")
    for name, count in document["lone_labels"].items():
        notice(f"note: {count} {name}: nothing outside their fold has this class, so that no head can predict it")
    for reason, count in document["left_out"].items():
        hint = "; --labels multi takes them" if reason == "several labels" and count > document["n_rows"] else ""
        notice(f"left out: {count} ({reason}){hint}")


def _print_scores(document: dict[str, Any]) -> None:
    """The scores by fraction, and F1 of each class at the largest one."""
    from locatlas.types import ROW

    images = f"{ROW[document['level']]}s"
    head, n_seeds = document["head"], len(document["seeds"])
    click.echo(f"{document['what']}: {head['head']['kind']} head, loss {head['loss']}")
    title = (
        f"{document['n']} {images} of {document['n_groups']} groups ({document['group']}), "
        f"{len(document['classes'])} classes, {document['folds']} folds, {n_seeds} seed{'s' if n_seeds > 1 else ''}, "
        f"{document['labels']}-label, {document['encoder']['name']}"
    )
    columns = ("fraction", "groups", images, "macro F1", "SD", "95 % interval", "micro F1", "accuracy", "balanced")
    rows = [
        (
            f"{r['fraction']:g}",
            f"{r['n_train_groups']:.1f}",
            f"{r['n_train']:.1f}",
            r["macro_f1"]["mean"],
            r["macro_f1"]["sd"],
            interval(r["macro_f1"]["ci95"]),
            r["micro_f1"]["mean"],
            r["accuracy"]["mean"],
            r["balanced_accuracy"]["mean"],
        )
        for r in document["results"]
    ]
    print_table(columns, rows, title=title)
    last = document["results"][-1]
    of_class = [(name, document["support"][name], value) for name, value in last["per_class_f1"].items()]
    print_table(("class", images, "F1"), of_class, title=f"F1 of each class at fraction {last['fraction']:g}")
