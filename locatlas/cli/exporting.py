"""Commands that write files for other programs: export anndata, parquet, profiles, faiss, site."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.asking_options import ENCODER, LEVEL, MAP_LABELS, WHERE
from locatlas.cli.common import atlas_option, emit_json, json_option, notice
from locatlas.cli.progress import progress_bar
from locatlas.errors import InputError

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
    from locatlas.query.asking.scope import Scope
    from locatlas.query.asking.shelf import Shelf
    from locatlas.query.atlas import open_atlas
    from locatlas.query.export.run import export

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


@export_command.command("site")
@atlas_option
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--level", type=click.Choice(["fov", "cell"]), help="Of the images shown; default: all there are.")
@ENCODER
@MAP_LABELS
@click.option(
    "--limit",
    default=12,
    show_default=True,
    type=click.IntRange(1, 5000),
    help="Most images of a level with a page, of each protein; 100 times as many of those without a protein's name.",
)
@click.option(
    "--px", default=384, show_default=True, type=click.IntRange(32, 2048), help="Longest edge of a field's picture."
)
@click.option(
    "--max-mb",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most megabytes; what would be larger is refused.",
)
@click.option("--overwrite", is_flag=True, help="Replace a site that is there.")
@json_option
def export_site_command(
    atlas: Path,
    folder: Path,
    level: str | None,
    encoder: str | None,
    map_labels: str | None,
    limit: int,
    px: int,
    max_mb: int,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """The page of `serve` as a folder of files, to be put on any web server or opened from the disk (extra serve).

    It has pages of proteins and images with their neighbors and votes, the maps and the stored benchmarks, as they are
    now. What has to be computed is not in it.
    """
    try:
        from locatlas.query.export.site.run import SiteRequest, export_site
    except ModuleNotFoundError as error:
        message = f"{error.name} is missing; install the extra: pip install 'locatlas[serve]'"
        raise InputError(message) from error
    request = SiteRequest(
        level=level, encoder=encoder, map_labels=map_labels, limit=limit, px=px, most_bytes=max_mb * 1_000_000
    )
    with progress_bar() as progress:
        done = export_site(atlas, folder, request, overwrite=overwrite, tell=notice, progress=progress)
    if as_json:
        emit_json(done.to_dict())
        return
    click.echo(
        f"{done.path}: {done.proteins} proteins, {done.images} images, {done.pictures} pictures; "
        f"{done.files:,} files, {done.bytes / 1e6:.1f} MB"
    )
    click.echo(f"to see it: open {done.path}/index.html, or put the folder on a web server")
    for note in done.notes:
        notice(f"note: {note}")
