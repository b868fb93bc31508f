"""Where embedding runs: the options of `index`, `embed` and `reembed`, and the engine that they mean."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import rich_click as click

if TYPE_CHECKING:
    from locatlas.indexer.engines import Engine
    from locatlas.models.running import Running

__all__ = ["engine_of", "engine_options"]


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that `engine_of` takes."""
    for option in reversed(
        [
            click.option(
                "--engine",
                type=click.Choice(["local", "ray"]),
                default="local",
                show_default=True,
                help="Embed on this machine, or on the workers of a Ray cluster; the result is the same.",
            ),
            click.option(
                "--ray-address",
                metavar="HOST:PORT",
                help="Cluster of --engine ray, or auto on one of its nodes; default: RAY_ADDRESS, else this machine.",
            ),
            click.option(
                "--worker-cpus",
                type=click.IntRange(1),
                metavar="N",
                help="CPUs of each worker of --engine ray; default: 1. With GPUs, what reads images for one, e.g. 8.",
            ),
            click.option(
                "--workers",
                type=click.IntRange(1),
                metavar="N",
                help="Workers of --engine ray; default: one a GPU, or as many as the CPUs are for.",
            ),
        ]
    ):
        command = option(command)
    return command


def engine_of(
    engine: Literal["local", "ray"],
    ray_address: str | None,
    worker_cpus: int | None,
    workers: int | None,
    how: "Running",
) -> "tuple[AbstractContextManager[Engine | None], Running]":
    """The engine that was asked for, to be used as a context, None for this process, and what is left to this process.

    Raises:
        click.UsageError: If options of a cluster stand without it.
    """
    devices = [name.strip() for name in how.device.split(",")]
    if engine == "local":
        if any(option is not None for option in (ray_address, worker_cpus, workers)):
            message = "--ray-address, --worker-cpus and --workers belong to --engine ray"
            raise click.UsageError(message)
        if len(devices) == 1:
            return nullcontext(), how
        if how.runtime == "openvino":
            message = f"--runtime openvino takes all cores itself; it is for one device, not for {how.device}"
            raise click.UsageError(message)
        from locatlas.indexer.cluster.devices import DevicesEngine
        from locatlas.models.running import USUAL

        return DevicesEngine(devices, running=how), USUAL
    from locatlas.indexer.cluster.engine import RayEngine

    return RayEngine(address=ray_address, worker_cpus=worker_cpus or 1, workers=workers), how
