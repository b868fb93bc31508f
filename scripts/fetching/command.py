"""What the fetching scripts share on the command line: options, and the way from a plan to files. Uses the network."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich_click as click

from fetching.choose import read_names
from fetching.errors import FetchError
from fetching.http import Session
from fetching.lock import alone_in
from fetching.pace import Pace
from fetching.plan import Plan, in_words
from fetching.receipt import noted_sizes, write_manifest, write_receipt
from fetching.run import Outcome, fetch_all
from locatlas.cli.common import notice
from locatlas.cli.progress import progress_bar
from locatlas.errors import LocatlasError

__all__ = ["NOT_FETCHED_HERE", "carry_out", "fetching_options", "finish", "hold", "main", "names_of", "session_of"]

NOT_FETCHED_HERE = (
    "The addresses are from public sources named in the code. They could not be fetched where this was written: "
    "the code is tested against servers on one machine."
)


def fetching_options(*, workers: int, rate: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options of every fetching script.

    Args:
        workers: Files at a time, unless said otherwise.
        rate: Requests a second.
    """
    options = [
        click.option(
            "--dry-run", is_flag=True,
            help="Only say what would be fetched and how much it is; tables and pages that tell are fetched and kept.",
        ),
        click.option("--workers", default=workers, show_default=True, type=click.IntRange(1, 32), help="At a time."),
        click.option(
            "--rate", default=rate, show_default=True, type=click.FloatRange(0, 100, min_open=True),
            help="Requests a second, of all workers together.",
        ),
        click.option(
            "--timeout", default=30.0, show_default=True, type=click.FloatRange(0, min_open=True),
            help="Longest silence of the server, in seconds.",
        ),
        click.option("--retries", default=6, show_default=True, type=click.IntRange(0), help="Failures in a row."),
        click.option(
            "--max-gb", default=20.0, show_default=True, type=click.FloatRange(0),
            help="Refuse to fetch more than this.",
        ),
    ]  # fmt: skip

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def session_of(*, rate: float, timeout: float, retries: int, tell: Callable[[str], None] = notice) -> Session:
    """Requests as the options say.

    Raises:
        FetchError: If $LOCATLAS_OFFLINE is set.
    """
    if os.environ.get("LOCATLAS_OFFLINE", "0") not in ("", "0"):
        message = "LOCATLAS_OFFLINE is set"
        raise FetchError(message)
    return Session(Pace(rate), timeout_s=timeout, retries=retries, tell=tell)


def names_of(given: Sequence[str], file: Path | None) -> list[str]:
    """Names given by options, those of a file behind them, each once."""
    return list(dict.fromkeys([*given, *(read_names(file) if file else [])]))


def hold(folder: Path) -> None:
    """Keep other runs out of a folder until the command ends.

    Raises:
        FetchError: If another run is in it.
    """
    click.get_current_context().with_resource(alone_in(folder))


def carry_out(
    plan: Plan,
    folder: Path,
    session: Session,
    *,
    workers: int,
    max_gb: float,
    about: Mapping[str, Any],
) -> Outcome:
    """Fetch a plan, with a bar, and note what came. The caller holds the folder (`hold`).

    Raises:
        FetchError: If it is too much, or something could not be fetched; what came before is noted, as it is after an
            interrupt.
    """
    check_volume(plan, max_gb)
    noted = noted_sizes(folder)
    outcome = Outcome()
    try:
        with progress_bar() as progress:
            fetch_all(plan, folder, session, workers=workers, progress=progress, noted=noted, outcome=outcome)
    finally:
        write_receipt(folder, outcome, about)
    notice(
        f"{len(outcome.fetched)} fetched, {len(outcome.were_here)} were here"
        + (f", {len(outcome.missing)} are not at the source" if outcome.missing else "")
        + (f", {len(outcome.failed) + outcome.given_up} failed" if outcome.failed else "")
    )
    outcome.raise_if_failed()
    return outcome


def check_volume(plan: Plan, max_gb: float) -> None:
    """Refuse what is more than was meant.

    Raises:
        FetchError: If the plan is larger than `max_gb`.
    """
    if plan.volume is not None and plan.volume > max_gb * 1e9:
        message = f"{plan.in_words()}: more than --max-gb {max_gb:g}; raise it, or ask for less"
        raise FetchError(message)
    if plan.volume is None:
        notice(f"{plan.in_words()}: --max-gb {in_words(max_gb * 1e9)} cannot be kept to")


def finish(folder: Path, dataset: str) -> None:
    """Write the table of what is there, and say how to go on."""
    path, n, rejected = write_manifest(folder, dataset)
    for reason in rejected[:5]:
        notice(f"cannot be indexed: {reason}")
    click.echo(f"{path}: {n} images" + (f", {len(rejected)} sources that cannot be indexed" if rejected else ""))
    click.echo(f"Next: locatlas index {folder} --dataset {dataset} --atlas ATLAS")


def main(command: click.Command) -> None:
    """Run a script's command; an error that was foreseen is one line and exit code 1, as an interrupt is 130."""
    try:
        command(standalone_mode=False)
    except LocatlasError as error:
        notice(f"Error: {error}")
        raise SystemExit(1) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, click.Abort):
        notice("stopped; the same command goes on from here")
        raise SystemExit(130) from None
    except OSError as error:
        notice(f"Error: {error.filename or ''}: {error.strerror or error}")
        raise SystemExit(1) from None
