"""Commands that copy an atlas to a safe place, and give it back: backup, restore."""

from pathlib import Path

import rich_click as click

from locatlas.cli.common import atlas_option, emit_json, json_option, notice, print_table
from locatlas.cli.progress import progress_bar

_LEFT_OUT = "Not part of a backup: source images, and weights of encoders (in LOCATLAS_HOME)."


@click.command("backup")
@atlas_option
@click.option("--to", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Folder of the backup.")
@click.option("--with-indices", is_flag=True, help="Also FAISS indices, which can always be made again.")
@click.option(
    "--keep",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    metavar="N",
    help="Earlier states of the backup that stay.",
)
@json_option
def backup_command(atlas: Path, to: Path, keep: int, *, with_indices: bool, as_json: bool) -> None:
    """Copy an atlas as it is at one moment, while others read it and write to it.

    Run again, it copies what is new only. A run that was stopped leaves the state before, and goes on when run again.
    Source images, and weights of encoders (in LOCATLAS_HOME), are not part of it.
    """
    from locatlas.indexer.backup.run import backup

    with progress_bar() as progress:
        done = backup(atlas=atlas, to=to, with_indices=with_indices, keep=keep, progress=progress)
    if as_json:
        emit_json(done.to_dict())
        return
    if not done.new:
        copied = f"{done.copied_files} files that it had lost were copied again" if done.copied_files else ""
        click.echo(f"{to}: nothing new since {done.at}; {copied or 'nothing was copied'}")
        return
    click.echo(
        f"{to}: {done.files} files, {_megabytes(done.bytes)}; {done.copied_files} of them, "
        f"{_megabytes(done.copied_bytes)}, were new and copied"
    )
    click.echo(f"state {done.state}, of {len(done.states)}; `locatlas restore {to} --to FOLDER` gives it back")
    notice(_LEFT_OUT)


@click.command("restore")
@click.argument("backup", type=click.Path(path_type=Path))
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="FOLDER", help="What to make: absent, or an empty folder."
)
@click.option("--state", metavar="NAME", help="One of the earlier states; default: the newest.")
@click.option("--table", metavar="NAME", help="Restore this table aside, as FOLDER/NAME.lance, and no atlas.")
@click.option(
    "--check",
    is_flag=True,
    help="Read all of it, compare every digest, rename damaged files; restore nothing.",
)
@click.option("--list", "as_list", is_flag=True, help="List the states of the backup; restore nothing.")
@json_option
def restore_command(
    backup: Path, to: Path | None, state: str | None, table: str | None, *, check: bool, as_list: bool, as_json: bool
) -> None:
    """Make an atlas again as it was when it was backed up.

    Every digest is compared before the folder appears under its name, and nothing is written over.
    """
    from locatlas.indexer.backup import restore as restoring

    if (to is not None) + check + as_list != 1:
        message = "one of --to FOLDER, --check and --list is needed"
        raise click.UsageError(message)
    if (as_list and state) or (to is None and table):
        message = "--state goes with --to or --check, --table with --to"
        raise click.UsageError(message)
    if as_list:
        _list(backup, as_json=as_json)
        return
    with progress_bar() as progress:
        if to is None:
            done = restoring.check_backup(backup, state=state, progress=progress)
        else:
            done = restoring.restore(backup, to=to, state=state, table=table, progress=progress)
    if as_json:
        emit_json({**done.to_dict(), "states": []})
        return
    what = f"{done.files} files, {_megabytes(done.bytes)}, every digest as it was copied"
    click.echo(f"{to or backup}: {what if to is None else f'restored the state of {done.at}; {what}'}")
    for name, path in done.missing_roots.items():
        notice(
            f"root {name!r} of images is not there ({path}): queries work; before images are read again, "
            f"`locatlas maintain --atlas {to} --root {name}=FOLDER` says where they are"
        )


def _list(backup: Path, *, as_json: bool) -> None:
    from locatlas.indexer.backup.restore import states

    records = states(backup)
    if as_json:
        nothing = dict.fromkeys(("state", "at", "path", "schema_version"))
        empty = {"files": 0, "bytes": 0, "tables": {}, "missing_roots": {}}
        emit_json({"backup": str(backup), **nothing, **empty, "states": [record.summary() for record in records]})
        return
    columns = ("state", "of", "schema", "files", "MB", "fovs", "cells")
    rows = [(record, {name: table.rows for name, table in record.tables.items()}) for record in records]
    shown = [
        (r.name, r.atlas, r.schema_version, len(r.files), f"{r.bytes / 1e6:.1f}", n.get("fovs", 0), n.get("cells", 0))
        for r, n in rows
    ]
    print_table(columns, shown)


@click.command("publish")
@click.argument("backup", type=click.Path(path_type=Path))
@click.option("--to", required=True, metavar="URI", help="s3://BUCKET/PREFIX, gs://... or az://...")
@json_option
def publish_command(backup: Path, to: str, *, as_json: bool) -> None:
    """Publish the newest state of a backup in an object store, where `--atlas s3://BUCKET/PREFIX` reads it.

    Only what is new is sent. Whoever reads sees the state before or this one. Credentials and endpoint come from the
    environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
    """
    from locatlas.indexer.published.publish import publish

    with progress_bar() as progress:
        done = publish(backup, to=to, progress=progress)
    if as_json:
        emit_json(done.to_dict())
        return
    if not done.new:
        click.echo(f"{done.uri}: state {done.state} is published already; nothing was sent")
        return
    click.echo(
        f"{done.uri}: state {done.state} of {done.files} files, {_megabytes(done.bytes)}; {done.sent_files} of them, "
        f"{_megabytes(done.sent_bytes)}, were new and sent"
    )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"
