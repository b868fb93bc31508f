"""Commands that write files for other programs: export anndata, parquet, profiles, faiss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.asking_options import ENCODER, LEVEL, WHERE
from locatlas.cli.common import atlas_option, emit_json, json_option, notice

NEIGHBORS = click.option(
    "-k", type=click.IntRange(min=1), help="Exact nearest neighbors of each row; default: 15, or as many as there are."
)
_OPTIONS = (
    atlas_option,
    click.option("--out", required=True, type=click.Path(path_type=Path), help="Where to.", metavar="PATH"),
    LEVEL,
    click.option(
        "--of", type=click.Choice(["fov", "cell"]), help="With level protein: which images a protein is made of."
    ),
    ENCODER,
    WHERE,
    click.option("--overwrite", is_flag=True, help="Replace what is there."),
    json_option,
)


def _shared(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _run(
    kind: str, atlas: Path, out: Path, *, as_json: bool, overwrite: bool, k: int | None = None,
    method: str | None = None, **scope: Any,
) -> None:  # fmt: skip
    from locatlas.query.atlas import open_atlas
    from locatlas.query.export.run import export
    from locatlas.query.scope import Scope
    from locatlas.query.shelf import Shelf

    shelf = Shelf(open_atlas(atlas).store)
    done = export(shelf, kind, out, Scope(**scope), k=k, method=method, overwrite=overwrite)
    if as_json:
        emit_json(done.to_dict())
        return
    click.echo(
        f"{done.path}: {done.rows} {done.level}s by {done.encoder['name']} ({done.encoder['fingerprint'][:12]}), "
        f"{done.dim} numbers each, {done.bytes / 1e6:.1f} MB"
    )
    if done.command is not None:
        click.echo(f"to see it: {done.command}")
    for note in done.notes:
        notice(f"note: {note}")


@click.group("export")
def export_command() -> None:
    """Files for other programs, written whole or not at all."""


@export_command.command("anndata")
@_shared
@NEIGHBORS
def export_anndata(**asked: Any) -> None:
    """AnnData (.h5ad) for scanpy and squidpy: vectors, metadata, neighbor graphs, stored maps (extra anndata)."""
    _run("anndata", **asked)


@export_command.command("parquet")
@_shared
@NEIGHBORS
@click.option("--method", type=click.Choice(["pca", "umap", "tsne"]), help="The stored map; default: the last made.")
def export_parquet(**asked: Any) -> None:
    """Parquet for embedding-atlas: a stored map, exact neighbors, thumbnails, metadata; prints the command."""
    _run("parquet", **asked)


@export_command.command("profiles")
@_shared
def export_profiles(**asked: Any) -> None:
    """Parquet of profiles (Metadata_* and features) for copairs and pycytominer."""
    _run("profiles", **asked)


@export_command.command("faiss")
@_shared
def export_faiss(**asked: Any) -> None:
    """A folder with a FAISS index, its ids, and a JSON that names metric and encoder."""
    _run("faiss", **asked)
