"""Options that the commands which score an atlas share."""

import rich_click as click

__all__ = ["GROUP", "LABELS", "NEVER_VOTES", "TEMPERATURE", "THRESHOLD"]

GROUP = click.option(
    "--group", default="protein", show_default=True, help="Column that must not be split.", metavar="NAME"
)
LABELS = click.option(
    "--labels",
    type=click.Choice(["single", "multi"]),
    default="single",
    show_default=True,
    help="single: images with exactly one localization; multi: all that have any.",
)
NEVER_VOTES = click.option(
    "--exclude",
    type=click.Choice(["self", "fov", "protein"]),
    default="protein",
    show_default=True,
    help="What else never votes, beside the query's group.",
)
TEMPERATURE = click.option(
    "--temperature", default=0.07, show_default=True, type=click.FloatRange(min=0, min_open=True)
)
THRESHOLD = click.option("--threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1, min_open=True))
