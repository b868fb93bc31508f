"""The command that tells an atlas on one page: report."""

from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.asking_options import ENCODER, LABEL_SOURCE, MAP_LABELS, WHERE, training_options
from locatlas.cli.common import atlas_option, emit_json, interval, json_option, notice, number_list
from locatlas.cli.progress import progress_bar
from locatlas.cli.scoring_options import GROUP, LABELS, NEVER_VOTES, TEMPERATURE, THRESHOLD


@click.command("report")
@atlas_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make.", metavar="FOLDER")
@click.option("--overwrite", is_flag=True, help="Replace a report that is there; never a folder of anything else.")
@click.option("--title", help="Of the page; default: made of the atlas' name.")
@click.option(
    "--level", type=click.Choice(["fov", "cell"]), help="Default: the first image level the atlas has vectors of."
)
@click.option(
    "--ks",
    callback=number_list,
    metavar="K,...",
    help="Of the sweep. Default: 1,3,5,10,20,50,100,200 as far as there are references enough.",
)
@click.option(
    "-k",
    type=click.IntRange(min=1),
    help="Neighbors that vote for confusion matrix, classes and galleries. Default: 10, or the largest below.",
)
@GROUP
@click.option(
    "--protocol", type=click.Choice(["leave-group-out", "kfold"]), default="leave-group-out", show_default=True
)
@click.option("--folds", default=5, show_default=True, type=click.IntRange(min=2), help="Of kfold.")
@click.option("--seed", default=0, show_default=True, type=int, help="Of folds and bootstrap.")
@click.option("--weights", type=click.Choice(["uniform", "distance", "softmax"]), default="uniform", show_default=True)
@TEMPERATURE
@THRESHOLD
@LABELS
@NEVER_VOTES
@LABEL_SOURCE
@MAP_LABELS
@WHERE
@ENCODER
@training_options
@click.option(
    "--protein",
    "proteins",
    multiple=True,
    metavar="NAME",
    help="Whose nearest neighbors are shown; may be given several times. Default: one of each localization.",
)
@click.option("--pictures", default=8, show_default=True, type=click.IntRange(1, 100), help="Of each gallery, at most.")
@click.option("--neighbors", default=8, show_default=True, type=click.IntRange(1, 100), help="Shown of each protein.")
@json_option
def report_command(atlas: Path, out: Path, *, overwrite: bool, as_json: bool, **asked: Any) -> None:
    """Write a folder that tells an atlas: one page with all pictures in it, figures as SVG and PNG, tables as CSV.

    The page holds the data set, flags of quality, quarantine, the sweep over k with its protocol and interval, the
    confusion matrix, F1 and support of each class, typical and most confused images, nearest neighbors, encoders,
    versions, and the command that makes it again. It loads nothing from anywhere. Needs the extra `plot`.
    """
    from locatlas.query.atlas import open_atlas
    from locatlas.query.report.request import ReportRequest
    from locatlas.query.report.run import report

    request = ReportRequest(**asked)
    with progress_bar() as progress:
        document = report(open_atlas(atlas), out, request, overwrite=overwrite, progress=progress)
    if as_json:
        emit_json(document)
        return
    click.echo(f"{document['page']}, with figures and tables: {len(document['files'])} files")
    _tell(document)


def _tell(document: dict[str, Any]) -> None:
    from locatlas.types import ROW

    images = f"{ROW[document['level']]}s"
    if document["sweep"] is None:
        click.echo(f"{document['data']['images']} {images}; none has a localization, so nothing is scored")
        return
    sweep = document["sweep"]
    shown = next(one for one in sweep["results"] if one["k"] == document["k"])
    bounds = interval(shown["macro_f1_ci95"])
    click.echo(
        f"{sweep['n']} {images} of {sweep['n_groups']} groups ({document['group']}), {len(sweep['classes'])} classes, "
        f"{sweep['protocol']}: macro F1 {shown['macro_f1']:.3f} at k = {document['k']}"
        + (f", 95 % interval {bounds}" if bounds else "")
    )
    for note in sweep["notes"]:
        notice(f"note: {note}")
