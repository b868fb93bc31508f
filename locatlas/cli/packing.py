"""The command that keeps decoded images: pack."""

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from locatlas.cli.common import atlas_option, emit_json, json_option, notice, shown
from locatlas.cli.progress import progress_bar

if TYPE_CHECKING:
    from locatlas.indexer.pixel_cache.run import PackSummary

REASONS = 3
"""Reasons of images that cannot be read that are told; --json has all."""


@click.command("pack")
@atlas_option
@click.option("--drop", is_flag=True, help="Delete the decoded images instead.")
@json_option
def pack_command(atlas: Path, *, drop: bool, as_json: bool) -> None:
    """Decode every image of an atlas once and keep its planes, for embed, reembed, finetune and pretrain to read.

    It pays where images are PNG or compressed TIFF and will be read more than once: vectors are the same bit for bit.
    What it takes on disk is said before it begins. A run that was stopped goes on where it was.
    """
    from locatlas.indexer.pixel_cache.run import pack

    def told(images: int, n_bytes: int) -> None:
        if images:
            where = "the copy on this machine" if shown(atlas) != str(atlas) else atlas / "cache" / "images"
            notice(f"{images} images to decode, about {n_bytes / 1e6:.1f} MB below {where}")

    with progress_bar() as progress:
        summary = pack(atlas=atlas, drop=drop, told=told, progress=progress)
    if as_json:
        emit_json(summary.to_dict())
    else:
        _tell(atlas, summary, drop=drop)


def _tell(atlas: Path, summary: "PackSummary", *, drop: bool) -> None:
    freed = f"{summary.freed_bytes / 1e6:.1f} MB freed"
    if drop:
        click.echo(f"{shown(atlas)}: {freed}")
        return
    also = f", {freed}" if summary.freed_bytes else ""
    click.echo(
        f"{shown(atlas)}: {summary.packed} images decoded, {summary.images} held in {summary.bytes / 1e6:.1f} MB{also}"
    )
    if summary.changed:
        click.echo(f"{summary.changed} images are not what was indexed, and were left out: index them again")
    for reason, n in sorted(summary.reasons.items(), key=lambda item: -item[1])[:REASONS]:
        click.echo(f"left out: {reason}" + (f" ({n} times)" if n > 1 else ""))
    if len(summary.reasons) > REASONS:
        click.echo(f"left out: {summary.unreadable} images in all that cannot be read")
