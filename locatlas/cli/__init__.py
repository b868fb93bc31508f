"""The `locatlas` command: a group whose commands are imported when they are called, and errors told in one line."""

import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
import rich_click

from locatlas import __version__
from locatlas.cli.progress import STYLES, Style, choose_style
from locatlas.errors import LocatlasError
from locatlas.interrupts import StopRequested, asked_to_stop, stop_on_signals

__all__ = ["group", "main"]

NOTES = "locatlas.query.answers.notes"
"""The logger of what a reader of an answer must know: for those who ask from Python."""

_COMMANDS = {
    "demo": "locatlas.cli.demo",
    "index": "locatlas.cli.building",
    "embed": "locatlas.cli.building",
    "reembed": "locatlas.cli.keeping",
    "import-embeddings": "locatlas.cli.importing",
    "finetune": "locatlas.cli.training",
    "pretrain": "locatlas.cli.training",
    "neighbors": "locatlas.cli.asking",
    "classify": "locatlas.cli.asking",
    "sweep": "locatlas.cli.measuring",
    "probe": "locatlas.cli.probing",
    "proteins": "locatlas.cli.measuring",
    "compare": "locatlas.cli.comparing",
    "benchmark": "locatlas.cli.benchmarking",
    "map": "locatlas.cli.mapping",
    "export": "locatlas.cli.exporting",
    "napari": "locatlas.cli.viewing",
    "report": "locatlas.cli.reporting",
    "annotate": "locatlas.cli.annotating",
    "encoders": "locatlas.cli.listing",
    "datasets": "locatlas.cli.listing",
    "status": "locatlas.cli.status",
    "maintain": "locatlas.cli.keeping",
    "pack": "locatlas.cli.packing",
    "serve": "locatlas.cli.serving",
    "verify": "locatlas.cli.verifying",
    "backup": "locatlas.cli.backing_up",
    "restore": "locatlas.cli.backing_up",
    "publish": "locatlas.cli.backing_up",
}


class _StoppedError(BaseException):
    """A command that a signal ended."""

    def __init__(self, request: StopRequested) -> None:
        super().__init__(request)
        self.request = request


class _LazyGroup(rich_click.RichGroup):
    """Imports a command's module when it is called or listed; none of them imports torch or lancedb at its top."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StopRequested as request:
            # click would write an empty line and forget which signal it was
            raise _StoppedError(request) from request

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        command: click.Command = getattr(module, cmd_name.replace("-", "_") + "_command")
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="locatlas")
@click.option(
    "--progress",
    type=click.Choice(STYLES),
    default="auto",
    envvar="LOCATLAS_PROGRESS",
    show_default=True,
    help="How long work shows itself on stderr; auto is a bar on a terminal, else a line every half minute.",
)
def group(progress: Style) -> None:
    """Searchable atlases of protein localization from microscopy images.

    Start with `locatlas demo`, or with your own images: `locatlas index FOLDER --atlas ATLAS --dataset NAME`.
    """
    choose_style(progress)
    click.get_current_context().with_resource(_notes_told_by_commands())


@contextmanager
def _notes_told_by_commands() -> Iterator[None]:
    """Keep the log from saying what every command says itself, beside its answer."""
    logger = logging.getLogger(NOTES)

    def none(_: logging.LogRecord) -> bool:
        return False

    logger.addFilter(none)
    try:
        yield
    finally:
        logger.removeFilter(none)


def main(argv: list[str] | None = None) -> Any:
    """Run the command line.

    Exits 0 on success, 1 on a failure told in one line on stderr, 2 on wrong usage, 130 when stopped by Ctrl-C
    and 143 by SIGTERM. A second signal ends the program at once.
    """
    stop_on_signals()
    try:
        # without standalone mode, click returns the code of an Exit
        code = group.main(args=argv, prog_name="locatlas", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except _StoppedError as stopped:
        _end(stopped.request)
    except (click.Abort, KeyboardInterrupt):
        _end(asked_to_stop() or StopRequested(signal.SIGINT))
    except BrokenPipeError:
        # the reader of our output (head, less) has gone; nothing is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except LocatlasError as error:
        click.echo(f"locatlas: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported for that
            raise
        click.echo("locatlas: the accelerator's memory is full; free some, or take smaller batches", err=True)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"locatlas: {where}{error.strerror or error}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _end(request: StopRequested) -> NoReturn:
    click.echo(f"locatlas: stopped by {request}; what was committed stays, the same command goes on there", err=True)
    sys.exit(request.exit_code)
