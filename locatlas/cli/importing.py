"""The command that brings in vectors which were made elsewhere: import-embeddings."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import rich_click as click

from locatlas.cli.common import atlas_option, emit_json, json_option, name_list, notice, shown, written
from locatlas.cli.running_options import STORAGES, faiss_option


def _imported(summary: dict[str, Any], name: str, level: str) -> str:
    """What an import changed, in a line."""
    whose = f"of {summary['dim']} numbers"
    if summary["imported"] == summary["updated"] == 0 and summary["resumed"]:
        return (
            f"all {summary['skipped']} vectors {whose} were stored by an import that was stopped; they are there now "
            f"as {name} at level {level}"
        )
    if not summary["imported"] and not summary["updated"]:
        return (
            f"all {summary['skipped']} vectors {whose} were there already as {name} at level {level}: nothing changed"
        )
    replaced = f", {summary['replaced']} of them in place of others" if summary["replaced"] else ""
    updated = f", {summary['updated']} with new metadata" if summary["updated"] else ""
    return (
        f"{summary['imported']} vectors {whose} imported as {name} at level {level}{replaced}{updated}, "
        f"{summary['skipped']} unchanged"
    )


def _met(summary: dict[str, Any]) -> Iterator[str]:
    """What ids of the file would be images if they were called otherwise."""
    for one in summary["nearly_met"]:
        n, e_g = one["ids"], f"e.g. {one['example']}, which is the last part of {one['image']}"
        if (dataset := one["dataset"]) is None:
            yield f"note: {n} of these ids would meet images if written in full, {e_g}"
        else:
            are = "is an image" if n == 1 else "are images"
            yield (
                f"note: {n} of these ids {are} of data set {dataset}, e.g. {one['example']} as {one['image']}: "
                f"--dataset {shlex.quote(dataset)} meets them"
            )


@click.command("import-embeddings")
@click.argument("file", type=click.Path(path_type=Path))
@atlas_option
@click.option("--name", "encoder_name", required=True, help="Names the vectors' encoder.")
@click.option(
    "--dataset",
    "-d",
    default="imported",
    show_default=True,
    help="Data set name, first part of the ids: that of the images that are meant, or of new rows.",
)
@click.option("--level", type=click.Choice(["fov", "cell"]), default="fov", show_default=True)
@click.option(
    "--labels",
    "label_names",
    callback=name_list,
    metavar="NAME,...",
    help="Names of a DINO4Cells feature file's label columns, in order; default: HPA's 28, sorted.",
)
@click.option(
    "--storage",
    type=STORAGES,
    default="float32",
    show_default=True,
    help="Numbers that the vectors are stored in: float16 rounds them and takes half of the disk.",
)
@faiss_option
@json_option
def import_embeddings_command(
    file: Path,
    atlas: Path,
    encoder_name: str,
    dataset: str,
    level: str,
    label_names: tuple[str, ...],
    storage: Literal["float32", "float16"],
    faiss: str,
    *,
    as_json: bool,
) -> None:
    """Bring vectors that were made elsewhere into an atlas: Parquet, npz, or a DINO4Cells feature .pth.

    Ids that are images of the atlas, as they stand or with the data set's name before them, get one more vector; others
    become rows of their own.
    """
    from locatlas.indexer.allocator import few_arenas
    from locatlas.indexer.files.planes import plural
    from locatlas.indexer.importing.run import import_embeddings

    few_arenas()
    with written(atlas, f"import-embeddings {file}"):
        summary = import_embeddings(
            file,
            atlas=atlas,
            name=encoder_name,
            dataset=dataset,
            level=level,
            label_names=label_names,
            storage=storage,
            faiss=faiss,
        )
        from locatlas.indexer.indices.refresh import refresh
        from locatlas.query.asking.warm import prepare_questions

        # what stands beside the current encoder has no index, and whoever brings it asked for none of the other's
        is_current = summary["encoder"]["state"] == "current"
        summary["indices"] = refresh(atlas, faiss if is_current else "none", levels=(level,))
        prepare_questions(atlas, (level,))
        if as_json:
            emit_json(summary)
            return
        click.echo(f"{shown(atlas)}: {_imported(summary, encoder_name, level)}")
        click.echo(
            f"ids: {summary['with_image']} of images of the atlas, {summary['without_image']} of rows of their own, "
            "without an image"
        )
        for line in _met(summary):
            notice(line)
        if (same := summary["same_as"]) is not None:
            notice(
                f"note: the same images have the same vectors in this atlas as {same['name']} "
                f"({same['fingerprint'][:12]}) already: this is one encoder under two names; `locatlas maintain "
                f"--atlas {shlex.quote(shown(atlas))} --drop-encoder {summary['encoder']['fingerprint'][:12]}` deletes "
                "the new one"
            )
        if summary["repeated"] and summary["repeated"] == summary["imported"]:
            notice(
                f"note: each of these {summary['repeated']} vectors is in this atlas as that of another image already: "
                "were they imported before under another --dataset? Then every image is there twice"
            )
        if is_current:
            from locatlas.cli.status import look_ups
            from locatlas.query.atlas import open_atlas

            for line in look_ups(open_atlas(atlas).status(), level):
                click.echo(line)
            if "not built" in (said := summary["indices"][level]):
                notice(f"note: {said}")
        else:
            asks = f"--encoder {shlex.quote(encoder_name)} asks these vectors, exactly"
            if faiss not in ("auto", "none"):
                asks += f": only the current encoder has an index, --faiss {faiss} built none"
            click.echo(f"look-ups at level {level} use another encoder; {asks}")
        if summary["degenerate"]:
            notice(f"note: {plural(summary['degenerate'], 'vector')} of norm 0: without a direction they never match")
