"""Commands for people who look at cells: annotate export, import, report."""

from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.common import atlas_option, emit_json, json_option, notice, print_table, shown, written

_LEVEL = click.option(
    "--level", type=click.Choice(["cell", "fov"]), help="Default: cells where the atlas has any, else FOVs."
)
_SHOWN_DISPUTED = 20


@click.group("annotate")
def annotate_command() -> None:
    """Let people say where proteins are: write a sheet with pictures, read it back, compare annotators."""


@annotate_command.command("export")
@click.argument("out", type=click.Path(path_type=Path))
@atlas_option
@_LEVEL
@click.option(
    "--choose",
    type=click.Choice(["random", "per-class", "uncertain"]),
    default="random",
    show_default=True,
    help="per-class: evenly over inherited localizations; uncertain: where the vote of the neighbors is closest.",
)
@click.option("-n", type=click.IntRange(min=1), default=200, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, type=int, help="Another seed, another choice.")
@click.option("--where", "-w", multiple=True, metavar="FILTER", help="What is chosen from, e.g. dataset=opencell.")
@click.option("--annotator", metavar="NAME", help="Who will look: what they have decided already is left out.")
@click.option(
    "--annotated/--not-annotated", default=None, help="Only what somebody, or nobody, has annotated. Default: both."
)
@click.option("--group", default="protein", show_default=True, metavar="NAME", help="Column that per-class mixes.")
@click.option("--vocabulary", metavar="NAME", help="Labels to choose from, e.g. hpa; default: those the atlas uses.")
@click.option("--show-labels", is_flag=True, help="Write inherited labels and the vote, too: annotators may be led.")
@click.option("--encoder", "-e", help="Whose vectors vote; default: the current one.", metavar="NAME")
@click.option("-k", type=click.IntRange(min=1), help="Neighbors that vote; default: as `locatlas classify`.")
@click.option("--crop", metavar="SIZE", help="How cells are cut for the pictures, e.g. 40um or 200px.")
@click.option("--edge-px", default=256, show_default=True, type=click.IntRange(16, 2048), help="Size of pictures.")
@json_option
def annotate_export(out: Path, atlas: Path, crop: str | None, *, as_json: bool, **asked: Any) -> None:
    """Write a folder OUT with a sheet to fill in and pictures of the cells chosen.

    Open OUT/index.html beside OUT/sheet.csv; OUT/README.txt says how to fill it in.
    """
    from locatlas.models.crops import CropPlan
    from locatlas.query.annotation.export import export_sheet
    from locatlas.query.annotation.gather import SheetRequest
    from locatlas.query.atlas import open_atlas

    request = SheetRequest(crop=None if crop is None else CropPlan.parse(crop), **asked)
    document = export_sheet(open_atlas(atlas), out, request)
    if as_json:
        emit_json(document)
        return
    click.echo(
        f"{document['folder']}: {document['n']} of {document['eligible']} {document['level']}s, {document['choose']}; "
        f"fill in {document['sheet']}, look at index.html"
    )
    for reason, n in document["left_out"].items():
        notice(f"left out: {n} ({reason})")
    if stored := document["pictures"].get("thumbnail"):
        notice(
            f"note: {stored} pictures are small stored thumbnails, their sources could not be used; README.txt says why"
        )


@annotate_command.command("import")
@click.argument("sheet", type=click.Path(path_type=Path))
@atlas_option
@click.option("--annotator", required=True, metavar="NAME", help="Who filled it in.")
@click.option("--at", metavar="TIME", help="When, ISO 8601 (without a zone: UTC); default: now.")
@click.option("--vocabulary", metavar="NAME", help="Labels that are allowed, e.g. hpa; default: those the atlas uses.")
@click.option("--new-labels", is_flag=True, help="Take labels that are not allowed as they are written.")
@json_option
def annotate_import(sheet: Path, atlas: Path, *, as_json: bool, **asked: Any) -> None:
    """Read the decisions of a filled-in SHEET into the atlas.

    A cell's own localizations are those that more than half of its annotators chose. A second import of the same sheet
    does nothing; if a line cannot be used, nothing is written.
    """
    from locatlas.indexer.annotation.bring_in import import_annotations
    from locatlas.indexer.files.planes import plural

    with written(atlas, f"annotate import {sheet}"):
        document = import_annotations(sheet, atlas=atlas, **asked)
    if as_json:
        emit_json(document)
        return
    click.echo(
        f"{shown(atlas)}: {plural(document['decisions'], 'decision')} of {document['annotator']}: "
        f"{document['new']} new, {document['changed']} changed, {document['unchanged']} unchanged; "
        f"{document['skipped']} skipped; {plural(document['cells_updated'], 'cell')} updated"
    )
    if document["disputed"]:
        notice(
            f"note: annotators disagree on {len(document['disputed'])} of these, e.g. {document['disputed'][0]}; they "
            "have no label of their own (`locatlas annotate report`)"
        )


@annotate_command.command("report")
@atlas_option
@_LEVEL
@click.option("--csv", "csv", type=click.Path(path_type=Path), help="Write the disputed ones, one line a decision.")
@json_option
def annotate_report(atlas: Path, level: str | None, csv: Path | None, *, as_json: bool) -> None:
    """How much was annotated by whom, how far annotators agree, and how often inherited labels hold."""
    from locatlas.query.annotation.report import annotation_report, write_disputed
    from locatlas.query.atlas import open_atlas

    document = annotation_report(open_atlas(atlas).store, level=level)
    if csv is not None:
        write_disputed(document, csv)
        notice(f"written: {csv}")
    if as_json:
        emit_json(document)
        return
    _print_report(document)


def _print_report(document: dict[str, Any]) -> None:
    click.echo(
        f"{document['annotated']} of {document['images']} {document['level']}s were looked at, "
        f"{len(document['disputed'])} of them are disputed"
    )
    if document["annotators"]:
        columns = ("annotator", "n", "none", "several", "changed", "gone")
        print_table(columns, [[row[c] for c in columns] for row in document["annotators"]])
    if document["pairs"]:
        rows = [
            (" / ".join(p["annotators"]), p["n"], p["equal"], p["single_label"]["kappa"], p["multi_label"]["kappa"])
            for p in document["pairs"]
        ]
        print_table(("annotators", "both", "equal", "kappa", "kappa per class, mean"), rows)
        for pair in document["pairs"]:
            for kind in ("single_label", "multi_label"):
                if reason := pair[kind]["reason"]:
                    notice(f"note: {' / '.join(pair['annotators'])}: no {kind.replace('_', '-')} kappa: {reason}")
    held = document["inherited_holds"]
    if held["per_class"]:
        title = f"How often inherited labels hold ({held['equal']} of {held['n']} exactly)"
        kept = [(name, one["n"], one["share"], one["seen_elsewhere"]) for name, one in held["per_class"].items()]
        print_table(("localization", "inherited", "holds", "seen where not inherited"), kept, title=title)
    if document["disputed"]:
        said = [
            (
                one["id"],
                " | ".join(f"{d['annotator']}: {';'.join(d['localizations']) or 'none'}" for d in one["decisions"]),
            )
            for one in document["disputed"][:_SHOWN_DISPUTED]
        ]
        print_table(("disputed", "decisions"), said)
        if len(document["disputed"]) > _SHOWN_DISPUTED:
            notice(f"first {_SHOWN_DISPUTED} of {len(document['disputed'])} disputed; --csv has all")
    for note in document["notes"]:
        notice(f"note: {note}")
