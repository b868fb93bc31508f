"""Embedding on several devices of this machine, a process each."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from locatlas.errors import InputError
from locatlas.indexer.cluster.processes import ProcessPool
from locatlas.indexer.cluster.worker import Sight
from locatlas.indexer.commits import Commits, Pending
from locatlas.indexer.engines import Engine
from locatlas.indexer.files.limits import VARIABLE
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.models.running import USUAL, Running
from locatlas.models.spec import EncoderSpec

__all__ = ["DevicesEngine"]


class DevicesEngine(Engine):
    """Embeds in a process for each device; this one plans and commits. A context manager: at its end they are gone.

    Args:
        devices: Torch's names, e.g. ("cuda:0", "cuda:1"). The same one twice has two processes, which lets one read
            while the other computes.
        running: How each runs the network, but for the device.
        threads: Of each process' network on a CPU; None for its share of the cores, or OMP_NUM_THREADS if that is less.
            As many threads read as it has a share of the cores.
    """

    def __init__(self, devices: Sequence[str], *, running: Running = USUAL, threads: int | None = None) -> None:
        if not devices or not all(devices):
            message = f"devices {','.join(devices)!r}: a name between the commas needed, e.g. cuda:0,cuda:1"
            raise InputError(message)
        self._running = [replace(running, device=device) for device in devices]
        self._readers = max(1, (os.cpu_count() or 1) // len(devices))
        said = os.environ.get("OMP_NUM_THREADS", "")
        self._threads = threads or min(self._readers, int(said) if said.isdecimal() and int(said) else self._readers)
        self.pool: ProcessPool | None = None
        self._of: tuple[str, AtlasFolder] | None = None

    def close(self) -> None:
        """End the processes."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def check(self) -> None:
        """All that it needs is installed with locatlas."""

    def pool_for(
        self, commits: Commits, work: Collection[Pending], spec: EncoderSpec, roots: Iterable[Path]
    ) -> ProcessPool:
        """The processes; they see what this one sees, so that `work` and `roots` are not looked at."""
        of = (spec.fingerprint, commits.store.folder)
        if self.pool is not None and self._of != of:
            self.close()
        if self.pool is None:
            sight = Sight((), (), limits=os.environ.get(VARIABLE, ""))
            sizes = {"threads": self._threads, "readers": self._readers}
            self.pool = ProcessPool(spec, sight, **sizes, running=self._running, atlas=commits.store.folder)
            self._of = of
        return self.pool
