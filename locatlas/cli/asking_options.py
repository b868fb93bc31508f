"""Options that the commands which ask an atlas share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.common import name_list, point

__all__ = [
    "ENCODER",
    "EXCLUDE",
    "LABEL_SOURCE",
    "LEVEL",
    "MAP_LABELS",
    "WHERE",
    "profile_options",
    "query_options",
    "together_options",
    "training_options",
]

LEVEL = click.option(
    "--level",
    type=click.Choice(["fov", "cell", "protein"]),
    help="What is searched; default: the first image level the atlas has. protein: proteins, made of their images.",
)
ENCODER = click.option("--encoder", "-e", help="Name or fingerprint; default: the current one.", metavar="NAME")
WHERE = click.option(
    "--where", "-w", multiple=True, metavar="FILTER", help="e.g. dataset=opencell, localizations=er, cell_line!=U-2 OS."
)
MAP_LABELS = click.option(
    "--map-labels", metavar="FROM:TO", help="Bring localizations into one vocabulary, e.g. hpa:opencell."
)
LABEL_SOURCE = click.option(
    "--label-source",
    type=click.Choice(["inherited", "annotated"]),
    default="inherited",
    show_default=True,
    help="Localizations that count: those a cell inherits from its protein, field or data set, or, for annotated cells "
    "only, their own. Never both.",
)
EXCLUDE = click.option(
    "--exclude",
    default="protein",
    show_default=True,
    metavar="none|self|fov|protein|COLUMN",
    help="What a query must not meet; each includes those before. COLUMN: itself, its FOV and its equals, e.g. plate.",
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is done with images that the encoder was trained on."""
    for option in (
        click.option(
            "--allow-training-groups",
            is_flag=True,
            help="Score what the encoder was trained on, too, as if it were new.",
        ),
        click.option(
            "--held-out", is_flag=True, help="Score only what the encoder was not trained on; the rest still votes."
        ),
    ):
        command = option(command)
    return command


def profile_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a protein is made of."""
    for option in (
        click.option(
            "--of",
            type=click.Choice(["fov", "cell"]),
            help="With --level protein: what it is made of; default: FOVs, or cells where there are none.",
        ),
        click.option(
            "--profile",
            type=click.Choice(["mean", "medoid"]),
            help="With --level protein: the mean of its images' unit vectors (default), or their medoid.",
        ),
    ):
        command = option(command)
    return command


def together_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How the votes of cells are put together."""
    for option in (
        click.option(
            "--top",
            type=click.FloatRange(0, 1, min_open=True),
            help="With --how top: the share of the most confident cells; default: 0.25.",
        ),
        click.option(
            "--how",
            type=click.Choice(["mean", "majority", "top"]),
            help="With --by: mean of the cells' scores (default), share of the cells whose top class it is, or mean "
            "over the most confident cells.",
        ),
        click.option(
            "--by",
            metavar="fov|protein|COLUMN",
            help="Vote on cells and put their votes together, by field, protein or another column of names.",
        ),
    ):
        command = option(command)
    return command


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Who asks, and what is looked at."""
    options = (
        click.option("--protein", "-p", help="Gene symbol, or the Ensembl id of the gene.", metavar="NAME"),
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
        click.option(
            "--at",
            callback=point,
            metavar="Y,X",
            help="A cell of the new image, by the pixel in its middle: it is cut out as the atlas' cells were.",
        ),
        LEVEL,
        profile_options,
        EXCLUDE,
        WHERE,
        LABEL_SOURCE,
        click.option("--exact/--approximate", default=None, help="Default: the FAISS index where there is one."),
        ENCODER,
    )
    for option in reversed(options):
        command = option(command)
    return command
