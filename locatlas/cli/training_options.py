"""Options of the commands that train an encoder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.asking_options import WHERE
from locatlas.cli.common import atlas_option, json_option

__all__ = ["DATA_OPTIONS", "DINO_OPTIONS", "LABELS_OPTIONS", "TRAINING_OPTIONS", "options"]

Option = Callable[[Callable[..., Any]], Callable[..., Any]]

_SHARE = click.FloatRange(0, 1, max_open=True)

DATA_OPTIONS: tuple[Option, ...] = (
    atlas_option,
    click.option(
        "--level",
        type=click.Choice(["fov", "cell"]),
        help="Images that are trained on; default: the first level that has an encoder, FOVs before cells.",
    ),
    click.option(
        "--group",
        default="protein",
        show_default=True,
        metavar="COLUMN",
        help="Its values are not split between what is trained on, stopped by, and held out.",
    ),
    click.option(
        "--hold-out",
        type=_SHARE,
        metavar="SHARE",
        help="Share of the groups that is set aside unseen, to evaluate on; default: the groups that the encoder's own "
        "training held out, else 0.2.",
    ),
    click.option(
        "--fraction",
        type=click.FloatRange(0, 1, min_open=True),
        default=1.0,
        show_default=True,
        metavar="SHARE",
        help="Share of the other groups that is used; contains every smaller one of the same split seed.",
    ),
    click.option("--split-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of these parts."),
    WHERE,
)

TRAINING_OPTIONS: tuple[Option, ...] = (
    click.option(
        "--blocks", type=click.IntRange(min=1), metavar="N", help="Train the last N blocks only; default: all."
    ),
    click.option(
        "--epochs",
        type=click.FloatRange(min=0, min_open=True),
        help="Passes over the images; default: 20 with labels, 30 without, 100 from scratch, within limits that suit "
        "small and large collections.",
    ),
    click.option("--steps", type=click.IntRange(min=1), help="Length in optimizer steps, in place of epochs."),
    click.option(
        "--batch-size", type=click.IntRange(min=1), help="Images a step, over all processes; default: 16 to 64."
    ),
    click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Peak learning rate."),
    click.option(
        "--layer-decay",
        type=click.FloatRange(0, 1, min_open=True),
        help="Factor of the rate from a block to the one before; default: 0.75 with labels, 1 without.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all but the split."),
    click.option(
        "--accumulate",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Parts that a batch is taken in, where memory is short.",
    ),
    click.option(
        "--precision", type=click.Choice(["fp32", "bf16"]), help="Of the training; default: bf16 on a GPU that has it."
    ),
    click.option("--device", default="auto", show_default=True, help="e.g. cpu, cuda:1."),
    click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Threads for images."),
    click.option("--tensorboard", is_flag=True, help="Also log for TensorBoard (extra `tensorboard`)."),
    click.option("--name", metavar="NAME", help="Of the new encoder; default: made of the old one's."),
    click.option(
        "--run-folder",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Log, curve and checkpoint; default: $LOCATLAS_HOME/runs/NAME.",
    ),
    click.option("--no-reembed", is_flag=True, help="Leave the atlas as it is; `locatlas reembed` follows later."),
    json_option,
)

LABELS_OPTIONS: tuple[Option, ...] = (
    click.option(
        "--labels",
        type=click.Choice(["single", "multi"]),
        help="single (default): images with exactly one localization; multi: all annotated ones.",
    ),
    click.option(
        "--label-source",
        type=click.Choice(["inherited", "annotated"]),
        help="Localizations of cells: those of their protein or field (default), or their own.",
    ),
    click.option("--map-labels", metavar="FROM:TO", help="Bring localizations into one vocabulary, e.g. hpa:opencell."),
    click.option("--head", type=click.Choice(["linear", "mlp", "wide"]), help="On the encoder; default: linear."),
    click.option(
        "--validation",
        type=_SHARE,
        metavar="SHARE",
        help="Share of the groups trained on by which training is stopped; default: 0.15.",
    ),
    click.option(
        "--patience", type=click.IntRange(min=1), help="Looks at them without a better one, then it stops; default: 5."
    ),
)

DINO_OPTIONS: tuple[Option, ...] = (
    click.option("--prototypes", type=click.IntRange(min=2), help="Outputs of DINO's head; default: 4096."),
    click.option("--local-crops", type=click.IntRange(min=0), help="Small crops of an image a step; default: 8."),
)


def options(*groups: tuple[Option, ...]) -> Option:
    """A decorator that adds groups of options, the first on top of the help."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([one for group in groups for one in group]):
            command = option(command)
        return command

    return add
