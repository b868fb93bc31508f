"""Options of commands that find cells and cut them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from locatlas.models.crops import CropPlan

__all__ = ["crop_options", "crop_plan", "finding_options"]


def crop_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How cells are cut out of their fields: part of the encoder."""
    for option in reversed(
        [
            click.option(
                "--crop",
                metavar="SIZE",
                help="Square around each cell: 41um, 100px (of the field), or a preset: dino4cells, subcell, "
                "subcell-training, opencell, cytoself. Default: the encoder's own, else 41 um.",
            ),
            click.option("--crop-centre", type=click.Choice(["cell", "nucleus"]), help="What is in its middle."),
            click.option("--blank/--no-blank", default=None, help="Zeros outside of the cell's mask."),
            click.option(
                "--border",
                type=click.Choice(["pad", "shift", "drop"]),
                help="Squares that leave the field: filled with zeros, moved inside, or no vector.",
            ),
        ]
    ):
        command = option(command)
    return command


def crop_plan(
    crop: str | None, crop_centre: str | None, border: str | None, *, blank: bool | None
) -> "CropPlan | None":
    """What the crop options say; None where they say nothing."""
    said = {"centre": crop_centre, "border": border, "blank": blank}
    changes: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    if crop is None:
        if changes:
            message = "--crop-centre, --border and --blank belong to --crop"
            raise click.UsageError(message)
        return None
    from dataclasses import replace

    from locatlas.models.crops import CropPlan

    return replace(CropPlan.parse(crop), **changes)


def finding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How cells are found in fields."""
    for option in reversed(
        [
            click.option(
                "--pixel-size",
                "pixel_size_um",
                type=click.FloatRange(min=0, min_open=True),
                metavar="UM",
                help="Micrometres per pixel, for images whose own is not known.",
            ),
            click.option(
                "--masks",
                type=click.Path(path_type=Path),
                metavar="FOLDER",
                help="Label images of cells and nuclei, by the names of the fields.",
            ),
            click.option(
                "--cells",
                type=click.Path(path_type=Path),
                metavar="TABLE",
                help="Boxes, centres or run-length encoded masks of cells.",
            ),
            click.option(
                "--segmenter",
                type=click.Choice(["builtin", "cellpose"]),
                help="Compute cells, where --masks and --cells do not tell. Default: masks that the source names, "
                "else the built-in segmenter.",
            ),
            click.option(
                "--segment", "segmenter_options", multiple=True, metavar="KEY=VALUE", help="For the segmenter."
            ),
            click.option(
                "--resegment", is_flag=True, help="Replace cells that another segmenter, or other parameters, found."
            ),
        ]
    ):
        command = option(command)
    return command
