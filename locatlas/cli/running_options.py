"""How images are embedded, wherever that is: the options that `index`, `embed` and `reembed` share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rich_click as click

from locatlas.cli.engine_options import engine_of, engine_options
from locatlas.cli.progress import progress_bar

__all__ = ["LEVELS", "faiss_option", "levels_of", "running", "running_options", "taken"]

faiss_option = click.option(
    "--faiss",
    type=click.Choice(["auto", "none", "flat", "pqfs", "ivf", "hnsw", "ivfpq"]),
    default="auto",
    show_default=True,
    help="Index for look-ups; auto builds none below 50,000 vectors, where exact search is fast, and lists of "
    "four-bit codes (ivfpq) from there on.",
)

LEVELS = click.option("--level", type=click.Choice(["fov", "cell", "both"]), default="both", show_default=True)


def levels_of(level: str) -> tuple[str, ...]:
    """What `LEVELS` means."""
    return ("fov", "cell") if level == "both" else (level,)


def running_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that `taken` takes."""
    command = engine_options(command)
    for option in reversed(
        [
            click.option(
                "--profile-time",
                "profile",
                is_flag=True,
                help="Tell where the seconds of embedding went, and what the encoder alone could do: its largest batch "
                "is encoded a few times more for that, which takes some seconds.",
            ),
            click.option(
                "--runtime",
                type=click.Choice(["torch", "openvino"]),
                default="torch",
                show_default=True,
                help="What runs the encoder's network; openvino (an extra) is for Intel CPUs, and is compared with "
                "torch first.",
            ),
        ]
    ):
        command = option(command)
    return command


def taken(asked: dict[str, Any]) -> dict[str, Any]:
    """Take what `running_options` gave out of a command's options."""
    names = ("profile", "runtime", "engine", "ray_address", "worker_cpus", "workers")
    return {name: asked.pop(name) for name in names}


@contextmanager
def running(
    *, profile: bool, runtime: str, engine: Any, ray_address: str | None, worker_cpus: int | None, workers: int | None
) -> Iterator[dict[str, Any]]:
    """Arguments of the indexer's `index`, `embed` and `reembed`: progress on stderr, engine, profile, runtime.

    Raises:
        click.UsageError: If options of a cluster stand without it.
    """
    from locatlas.indexer.allocator import few_arenas

    few_arenas()  # of a program of our own; a caller's process is left as it is
    with progress_bar() as progress, engine_of(engine, ray_address, worker_cpus, workers) as where:
        yield {"progress": progress, "engine": where, "profile": profile, "runtime": runtime}
