"""How images are embedded, wherever that is: the options that `index`, `embed` and `reembed` share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rich_click as click

from locatlas.cli.engine_options import engine_of, engine_options
from locatlas.cli.progress import progress_bar

__all__ = ["LEVELS", "STORAGES", "faiss_option", "levels_of", "running", "running_options", "taken"]

faiss_option = click.option(
    "--faiss",
    type=click.Choice(["auto", "none", "flat", "pqfs", "ivf", "hnsw", "ivfpq", "lance-ivfrq"]),
    default="auto",
    show_default=True,
    help="Index for look-ups; auto builds none below 50,000 vectors, where exact search is fast, and lists of "
    "four-bit codes (ivfpq) from there on; vectors that take more than half of the memory get codes that stay on disk "
    "(lance-ivfrq).",
)

MOST_AT_ONCE = 256
"""Images that are cut into batches by themselves (`pipeline.CHUNK_ROWS`)."""

STORAGES = click.Choice(["float32", "float16"])
"""Numbers that vectors are stored in."""

LEVELS = click.option("--level", type=click.Choice(["fov", "cell", "both"]), default="both", show_default=True)


def levels_of(level: str) -> tuple[str, ...]:
    """What `LEVELS` means."""
    return ("fov", "cell") if level == "both" else (level,)


def _batch(_: click.Context, parameter: click.Parameter, value: str) -> int:
    """What `Running.batch` takes.

    Raises:
        click.BadParameter: If it is no number from 1 to 256, nor a word that is known.
    """
    if value in ("usual", "auto"):
        return 0 if value == "usual" else -1
    if not value.isdecimal() or not 1 <= int(value) <= MOST_AT_ONCE:
        message = f"{value!r}: a number from 1 to {MOST_AT_ONCE}, or auto"
        raise click.BadParameter(message, param=parameter)
    return int(value)


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
                type=click.Choice(["torch", "openvino", "compiled"]),
                default="torch",
                show_default=True,
                help="What runs the encoder's network; openvino (an extra) is for Intel CPUs, compiled is torch's "
                "compiler, which takes minutes first. Both are compared with torch before anything is stored.",
            ),
            click.option(
                "--device",
                default="auto",
                show_default=True,
                metavar="NAME,...",
                help="Where the network runs, e.g. cpu or cuda:1; auto is CUDA if there is one. Several, e.g. "
                "cuda:0,cuda:1, share the images, each in a process of its own; the result is the same.",
            ),
            click.option(
                "--prepare",
                type=click.Choice(["auto", "device", "cpu"]),
                default="auto",
                show_default=True,
                help="Where pixels are scaled and resized: on the device, or on the processor by the threads that "
                "read; auto is the device on CUDA. Vectors are equal up to rounding.",
            ),
            click.option(
                "--batch",
                callback=_batch,
                default="usual",
                show_default=True,
                metavar="N|auto",
                help="Images a forward pass: 4 on a CPU and 32 on CUDA, another number, or what a trial on this device "
                "finds best, which is kept for later runs. Vectors are equal up to rounding.",
            ),
        ]
    ):
        command = option(command)
    return command


def taken(asked: dict[str, Any]) -> dict[str, Any]:
    """Take what `running_options` gave out of a command's options."""
    names = ("profile", "runtime", "device", "prepare", "batch", "engine", "ray_address", "worker_cpus", "workers")
    return {name: asked.pop(name) for name in names}


@contextmanager
def running(
    *,
    profile: bool,
    runtime: Any,
    device: str,
    prepare: Any,
    batch: int,
    engine: Any,
    ray_address: str | None,
    worker_cpus: int | None,
    workers: int | None,
) -> Iterator[dict[str, Any]]:
    """Arguments of the indexer's `index`, `embed` and `reembed`: progress on stderr, engine, profile, running.

    Raises:
        click.UsageError: If options of a cluster stand without it, or those of one machine with it.
    """
    from locatlas.indexer.allocator import few_arenas
    from locatlas.models.running import Running

    few_arenas()  # of a program of our own; a caller's process is left as it is
    how = Running(device=device, prepare=prepare, runtime=runtime, batch=batch)
    context, own = engine_of(engine, ray_address, worker_cpus, workers, how)
    with progress_bar() as progress, context as where:
        yield {"progress": progress, "engine": where, "profile": profile, "running": own}
