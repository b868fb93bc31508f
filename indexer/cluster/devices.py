"""Embedding on several devices of this machine, a process each."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from locatlas.errors import InputError
from locatlas.indexer.cluster.drive import drive
from locatlas.indexer.cluster.processes import ProcessPool
from locatlas.indexer.cluster.worker import Sight
from locatlas.indexer.commits import Commits, Pending
from locatlas.indexer.files.limits import VARIABLE
from locatlas.indexer.pipeline import CHUNK_ROWS, Progress
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.models.running import USUAL, Running
from locatlas.models.spec import EncoderSpec

__all__ = ["DevicesEngine"]


class DevicesEngine:
    """Embeds in a process for each device; this one plans and commits. A context manager: at its end they are gone.

    Args:
        devices: Torch's names, e.g. ("cuda:0", "cuda:1"). The same one twice has two processes, which lets one read
            while the other computes.
        running: How each runs the network, but for the device.
        threads: Of each process' network on a CPU; None for its share of the cores, or OMP_NUM_THREADS if that is less.
            As many threads read as it has a share of the cores.
    """

    slab_rows = 64 * CHUNK_ROWS

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

    def __enter__(self) -> Self:
        """Nothing is started before there is something to embed."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the processes."""
        self._close()

    def _close(self) -> None:
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def embed(
        self,
        commits: Commits,
        work: Collection[Pending],
        spec: EncoderSpec,
        *,
        roots: Iterable[Path],
        progress: Progress | None = None,
    ) -> None:
        """Embed what is pending and commit it.

        Args:
            commits: Where to, and how.
            work: What to embed, by position.
            spec: Of the encoder.
            roots: Not looked at: the processes see what this one sees.
            progress: Told of what goes on.

        Raises:
            InputError: If a device cannot be used, or the encoder cannot be loaded there.
            LocatlasError: If processes die one after another.
        """
        if progress:
            progress("starting workers", 0, len(work))
        of = (spec.fingerprint, commits.store.folder)
        if self.pool is not None and self._of != of:
            self._close()
        if self.pool is None:
            sight = Sight((), (), limits=os.environ.get(VARIABLE, ""))
            sizes = {"threads": self._threads, "readers": self._readers}
            self.pool = ProcessPool(spec, sight, **sizes, running=self._running, atlas=commits.store.folder)
            self._of = of
        drive(self.pool, commits, work, progress=progress)
