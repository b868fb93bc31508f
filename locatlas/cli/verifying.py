"""The command that tells whether an atlas is whole: verify."""

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from locatlas.cli.common import atlas_option, emit_json, json_option
from locatlas.cli.progress import progress_bar

if TYPE_CHECKING:
    from locatlas.indexer.verify.report import VerifyReport


@click.command("verify")
@atlas_option
@click.option(
    "--quick", is_flag=True, help="Sizes, presence, newest versions and ids only: seconds, but no flipped bit is found."
)
@click.option(
    "--repair", is_flag=True, help="Mend what can be mended; what cannot is said. Nothing is deleted for good."
)
@click.option(
    "--accept-losses", is_flag=True, help="Do not tell any more of rows that repairs took out and that are not back."
)
@json_option
@click.pass_context
def verify_command(
    context: click.Context, atlas: Path, *, quick: bool, repair: bool, accept_losses: bool, as_json: bool
) -> None:
    """Find every flipped bit, missing file, duplicate, orphan and mismatch of an atlas, and say what to do.

    Exits 0 if there is no damage, else 1. An atlas that can only be read, or that is being written, can be verified.
    """
    from locatlas.indexer.verify.run import verify

    with progress_bar() as told:
        report = verify(atlas=atlas, quick=quick, repair=repair, accept_losses=accept_losses, told=told)
    if as_json:
        emit_json(report.to_dict())
    else:
        _tell(report)
    if report.damage:
        context.exit(1)


def _tell(report: "VerifyReport") -> None:
    for line in report.repaired:
        click.echo(f"repaired: {line}")
    for found in report.findings:
        many = f" ({found.count})" if found.count > 1 else ""
        click.echo(f"{found.severity}: {found.where}: {found.kind}{many}: {found.means}")
        if found.examples:
            more = ", ..." if found.count > len(found.examples) else ""
            click.echo(f"    {', '.join(found.examples)}{more}")
        if found.do != "nothing":
            click.echo(f"    what to do: {found.do}")
    for writer in report.writers:
        click.echo(f"meanwhile written by {writer}; what it has not committed was left out")
    seen = " that can be seen without reading every byte" if report.quick else ""
    state = "damaged" if report.damage else f"no damage{seen}"
    rows = sum(n for n in report.tables.values() if n is not None)
    how = "sizes, versions and ids" if report.quick else f"every byte, {report.bytes_read / 1e6:.1f} MB"
    speed = f" at {report.mb_per_s:.0f} MB/s" if not report.quick and report.seconds else ""
    since = f"; digests since {report.digests_since}" if report.digests_since else "; no digests"
    click.echo(
        f"{report.path}: {state}; {len(report.tables)} tables, {rows} rows, {report.files} files: {how}{speed}{since}"
    )
