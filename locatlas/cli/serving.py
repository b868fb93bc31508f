"""The command that answers over HTTP: serve."""

import sys
from pathlib import Path

import rich_click as click

from locatlas.cli.common import atlas_option, emit_json, json_option, notice
from locatlas.errors import InputError


@click.command("serve")
@atlas_option
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; default: this machine only."
)
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--token",
    envvar="LOCATLAS_TOKEN",
    metavar="TEXT|auto|none",
    help="What every request must show; auto makes one. Made, too, where --host or --allow-host is not this machine; "
    "only elsewhere may there be none.",
)
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="A further name that the server is called by, e.g. of a proxy."
)
@json_option
def serve_command(
    atlas: Path, host: str, port: int, token: str | None, allow_host: tuple[str, ...], *, as_json: bool
) -> None:
    """Answer from an atlas over HTTP, with a page to look at it; stop with Ctrl-C.

    Nothing that is asked changes the atlas, and what is uploaded is not kept. It sees new images without a restart.
    """
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        message = f"{error.name} is missing; install the extra: pip install 'locatlas[serve]'"
        raise InputError(message) from error
    from locatlas.query.serve.run import listening

    with listening(atlas, host=host, port=port, token=token, names=allow_host) as server:
        if as_json:
            emit_json(server.to_dict())
            sys.stdout.flush()
        else:
            click.echo(f"{server.atlas}: {server.page}")
            sys.stdout.flush()
        if server.notice is not None:
            notice(server.notice)
        server.run()
