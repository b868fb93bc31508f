"""Commands that keep an atlas current and small: reembed, maintain."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from locatlas.cli.built import finish
from locatlas.cli.common import atlas_option, emit_json, json_option, shown, written
from locatlas.cli.running_options import LEVELS, faiss_option, levels_of, running, running_options

if TYPE_CHECKING:
    from locatlas.indexer.maintain import UnusedVectors

busy_option = click.option(
    "--busy",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the time to work; after each batch the rest is left to others.",
)


@click.command("reembed")
@atlas_option
@click.option(
    "--encoder",
    "-e",
    metavar="NAME",
    help="Encoder (or fingerprint) that is to be complete and then current, unless more than 1 % of the images that "
    "answer lack a vector by it; a fingerprint switches in spite of that. Default: the one that is being built at "
    "each level, else the current one.",
)
@LEVELS
@busy_option
@faiss_option
@running_options
@json_option
def reembed_command(
    atlas: Path, encoder: str | None, level: str, busy: float, faiss: str, *, as_json: bool, **run: Any
) -> None:
    """Find what is stale in an atlas and embed only that: images without a vector, changed ones, a new encoder.

    Queries keep working on the encoder before until the last vector is there. `index` may run at the same time. A run
    that was stopped continues where it was.
    """
    from locatlas.indexer.embed import reembed

    with written(atlas, "reembed"):
        with running(**run) as how:
            summary = reembed(atlas=atlas, encoder=encoder, levels=levels_of(level), busy=busy, **how)
        finish(atlas, summary, faiss=faiss, as_json=as_json)


def _named_folders(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, Path]:
    """Option callback: ("a=/x", "b=/y") to {"a": Path("/x"), "b": Path("/y")}."""
    found: dict[str, Path] = {}
    for text in value:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder) or name in found:
            message = f"{text!r}: NAME=FOLDER needed, each name once"
            raise click.BadParameter(message, ctx=ctx, param=param)
        found[name] = Path(folder)
    return found


@click.command("maintain")
@atlas_option
@click.option(
    "--drop-superseded",
    is_flag=True,
    help="Delete vectors and indices of encoders that were current once; the encoders stay known, with their lineage. "
    "What earlier versions made by `embed --no-switch` or a grid is stored as if it had been, and goes too.",
)
@click.option(
    "--drop-encoder",
    "drop_encoders",
    multiple=True,
    metavar="FINGERPRINT",
    help="Delete vectors and index of this encoder, imported ones too, or give it up where it is being built; one that "
    "never was current is forgotten, the current one is refused; repeatable.",
)
@click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="NAME=FOLDER",
    callback=_named_folders,
    help="Where the images of a root lie now, after they or the atlas were moved (`status` lists roots); repeatable.",
)
@json_option
def maintain_command(
    atlas: Path, drop_encoders: tuple[str, ...], roots: dict[str, Path], *, drop_superseded: bool, as_json: bool
) -> None:
    """Merge small fragments of tables, remove their old versions and what killed runs left."""
    from locatlas.indexer.maintain import maintain

    with written(atlas, "maintain") as place:
        summary = maintain(atlas=atlas, drop_superseded=drop_superseded, drop_encoders=drop_encoders, roots=roots)
    if as_json:
        emit_json({**summary.to_dict(), "objects": None if place.cleaned is None else place.cleaned.to_dict()})
        return
    click.echo(
        f"{shown(atlas)}: {_megabytes(summary.freed_bytes)} freed, {len(summary.compacted)} tables compacted, "
        f"{summary.old_versions} old versions removed"
    )
    if (objects := place.cleaned) is not None:
        later = f"; {objects.unneeded} more, {_megabytes(objects.unneeded_bytes)}, by a later `maintain`"
        click.echo(
            f"{objects.removed} objects that no state needs were removed, {_megabytes(objects.removed_bytes)}"
            + (later if objects.unneeded else "")
        )
    for kept in summary.given_up:
        click.echo(f"deleted: {kept}, what the atlas was before an upgrade: old versions that it needs were removed")
    for name, path in summary.roots.items():
        click.echo(f"root {name!r} of images is now {path}")
    for vectors in summary.dropped:
        back = "; `locatlas import-embeddings` of their file brings them back" if vectors.imported else ""
        click.echo(f"deleted: {_told(vectors)}{back}")
    for key in summary.forgotten:
        level, _, fingerprint = key.partition("/")
        click.echo(f"forgotten: encoder {fingerprint[:12]} at level {level}, which never was current")
    for name in summary.dropped_maps:
        click.echo(f"deleted: map {name}")
    for vectors in summary.kept:
        named = f"imported, so no image could give them back; --drop-encoder {vectors.fingerprint[:12]} deletes them"
        why = named if vectors.imported else "--drop-superseded deletes them"
        click.echo(f"superseded and kept: {_told(vectors)}; {why}")


def _told(vectors: "UnusedVectors") -> str:
    return (
        f"{vectors.vectors} vectors of {vectors.name} ({vectors.fingerprint[:12]}) at level {vectors.level}, "
        f"{_megabytes(vectors.bytes)}"
    )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"
