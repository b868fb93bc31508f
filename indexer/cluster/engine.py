"""Embedding on the workers of a Ray cluster. Connects to one, or starts one on this machine. Uses Ray."""

import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locatlas.errors import InputError
from locatlas.indexer.cluster.worker import Sight
from locatlas.indexer.commits import Commits, Pending
from locatlas.indexer.engines import Engine
from locatlas.indexer.files.limits import VARIABLE
from locatlas.models.spec import EncoderSpec

if TYPE_CHECKING:
    from locatlas.indexer.cluster.pool import RayPool

__all__ = ["RayEngine"]

NEEDED = "--engine ray needs Ray: pip install 'locatlas[ray]'"

ANSWER_S = 10.0
"""How long an address may take to answer."""

LOOKED_AT = 3
"""Files that each machine must see."""


class RayEngine(Engine):
    """Embeds on the workers of a cluster. A context manager: at its end the workers are gone.

    The machine that runs the command plans and commits, so only it needs the atlas; workers need the images under the
    same paths, the weights (`LOCATLAS_HOME`) and the same locatlas. Those that see the atlas' folder read images there
    that `locatlas pack` has decoded.

    Args:
        address: Of the cluster, "host:port" or "auto"; None for `RAY_ADDRESS`, else a cluster on this machine alone,
            that no other can reach and that ends with the run.
        worker_cpus: CPUs of each worker: threads of the network where it has no GPU, and that read images.
        workers: How many; None for as many as the cluster has room for: one a GPU, or one for every `worker_cpus` CPUs
            where the cluster has no GPU.
    """

    def __init__(self, *, address: str | None = None, worker_cpus: int = 1, workers: int | None = None) -> None:
        if worker_cpus < 1 or (workers is not None and workers < 1):
            message = f"{worker_cpus} CPUs a worker, {workers} workers: 1 or more needed"
            raise InputError(message)
        self._address, self._cpus, self._workers = address, worker_cpus, workers
        self._connected_here = False
        self._pool: tuple[Any, RayPool] | None = None

    def check(self) -> None:
        """Refuse to be used without Ray.

        Raises:
            InputError: Saying what to install.
        """
        if find_spec("ray") is None:
            raise InputError(NEEDED)

    def close(self) -> None:
        """End the workers, and a cluster that was started here."""
        if self._pool is not None:
            self._pool[1].close()
            self._pool = None
        if self._connected_here:
            import ray

            ray.shutdown()
            self._connected_here = False

    def pool_for(
        self, commits: Commits, work: Collection[Pending], spec: EncoderSpec, roots: Iterable[Path]
    ) -> "RayPool":
        """The workers, on machines that see what they must."""
        self._connect()
        from locatlas.indexer.cluster.pool import RayPool

        sight = _sight(work, roots)
        atlas = commits.store.folder
        key = (spec.fingerprint, sight.folders, atlas)
        if self._pool is not None and self._pool[0] != key:
            self._pool[1].close()
            self._pool = None
        if self._pool is None:
            check_machines(sight)
            import ray

            gpus = int(ray.cluster_resources().get("GPU", 0) >= 1)
            pool = RayPool(spec, sight, cpus=self._cpus, gpus=gpus, workers=self._workers, atlas=atlas)
            self._pool = (key, pool)
        return self._pool[1]

    def _connect(self) -> None:
        address = self._address or os.environ.get("RAY_ADDRESS") or "local"
        ray = _ray(local=address == "local")
        if ray.is_initialized():
            return
        _check_address(address)
        options = {"include_dashboard": False} if address == "local" else {}
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with warnings.catch_warnings(), _quiet("ray"):
                # Ray forks to start its processes, which do nothing with the store before they are another program
                warnings.filterwarnings("ignore", message=".*fork")
                ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
        except (OSError, RuntimeError, ValueError) as error:
            message = f"Ray at {address}: {str(error).splitlines()[0]}"
            if address != "local":
                message += "; a cluster that wants a token needs RAY_AUTH_MODE=token and the token here too"
            raise InputError(message) from error
        finally:
            # Ray puts its own in the place of those that finish a commit first
            for number, handler in before.items():
                signal.signal(number, handler)
        self._connected_here = True


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Errors only from a logger."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _ray(*, local: bool) -> Any:
    """Ray, which reads its settings when it is imported: no word of use to anyone, nothing open to the network."""
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if local:
            # despite its name: nodes are on the loopback address only
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(NEEDED) from error
    return ray


def _check_address(address: str) -> None:
    """Refuse an address where nobody answers; Ray would wait for minutes, and say much."""
    if address in ("local", "auto"):
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdecimal():
        message = f"Ray address {address!r}: HOST:PORT of the head node needed, or auto on a node of the cluster"
        raise InputError(message)
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        message = f"Ray at {address}: nobody answers ({error.strerror or error})"
        raise InputError(message) from error


def _sight(work: Collection[Pending], roots: Iterable[Path]) -> Sight:
    """What every machine must see: the roots, and the first images that can be looked at here."""
    files: list[tuple[str, int]] = []
    for pending in work:
        path = os.path.abspath(pending.record.sources[0].path)
        try:
            files.append((path, os.path.getsize(path)))
        except OSError:
            continue  # goes to quarantine
        if len(files) == LOOKED_AT:
            break
    folders = sorted(str(root.resolve()) for root in roots if root.is_dir())
    return Sight(tuple(folders), tuple(files), limits=os.environ.get(VARIABLE, ""))


def check_machines(sight: Sight) -> None:
    """Look from every machine of the cluster that has a CPU for us.

    Raises:
        InputError: Naming the first that does not see what it must.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(Sight.check)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0)]
    asked = [
        look.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(sight)
        for node in nodes
    ]
    for ref in asked:
        try:
            ray.get(ref)
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except RayError:
            continue  # it left meanwhile
