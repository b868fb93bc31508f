"""What may embed in place of this process, by a pool of workers, and what it does not do. I/O by `Commits`."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from locatlas.errors import InputError
from locatlas.indexer.cluster.drive import Pool, drive
from locatlas.indexer.commits import Commits, Pending
from locatlas.indexer.pipeline import CHUNK_ROWS, Progress
from locatlas.models.running import USUAL, Running
from locatlas.models.spec import EncoderSpec

__all__ = ["Engine", "require_local"]


class Engine(ABC):
    """Plans and commits here, and embeds by workers, e.g. of `cluster.engine.RayEngine`.

    A context manager: at its end they are gone.

    Attributes:
        slab_rows: Rows that it is given at once, at most; a multiple of a commit.
    """

    slab_rows = 64 * CHUNK_ROWS

    def __enter__(self) -> Self:
        """Nothing is started before there is something to embed."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the workers."""
        self.close()

    def embed(
        self,
        commits: Commits,
        work: Collection[Pending],
        spec: EncoderSpec,
        *,
        roots: Iterable[Path],
        progress: Progress | None = None,
    ) -> None:
        """Embed what is pending and commit it, as `pipeline.embed_pending`, with an encoder that workers load.

        Args:
            commits: Where to, and how.
            work: What to embed, by position.
            spec: Of the encoder.
            roots: Folders in which images lie; those that are there are to be seen by each worker.
            progress: Told of what goes on.

        Raises:
            InputError: If workers cannot be had where they were asked for, do not see the images, or cannot load the
                encoder.
            LocatlasError: If workers die one after another, or none is to be had.
        """
        if progress:
            progress("starting workers", 0, len(work))
        with commits.run.timed("start workers"):
            pool = self.pool_for(commits, work, spec, roots)
        drive(pool, commits, work, progress=progress)

    @abstractmethod
    def check(self) -> None:
        """Refuse to be used where what it needs is not installed, before anything is written.

        Raises:
            InputError: Naming it.
        """

    @abstractmethod
    def pool_for(self, commits: Commits, work: Collection[Pending], spec: EncoderSpec, roots: Iterable[Path]) -> Pool:
        """The workers of an encoder, those of before where they are of the same; as `embed`."""

    @abstractmethod
    def close(self) -> None:
        """End what was started."""


def require_local(engine: Engine | None, *, profile: bool, running: Running, busy: float = 1.0) -> None:
    """Refuse what an engine elsewhere does not do, and one that cannot be used here.

    Raises:
        InputError: Naming it.
    """
    if engine is None:
        return
    if busy != 1:
        message = "a share of the time (busy) is for one machine and one device; others are left time by fewer workers"
        raise InputError(message)
    if profile or running != USUAL:
        what = "a profile" if profile else ", ".join(f"{name} {value}" for name, value in running.chosen.items())
        message = f"{what}: for one machine (--engine local) and one device"
        raise InputError(message)
    engine.check()
