"""An engine that embeds by a pool of workers: what those of a cluster and of this machine's devices have in common."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from locatlas.indexer.cluster.drive import Pool, drive
from locatlas.indexer.commits import Commits, Pending
from locatlas.indexer.pipeline import CHUNK_ROWS, Progress
from locatlas.models.spec import EncoderSpec

__all__ = ["PooledEngine"]


class PooledEngine(ABC):
    """Plans and commits here, and embeds by workers. A context manager: at its end they are gone."""

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
        """Embed what is pending and commit it.

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
        """As `Engine.check`."""

    @abstractmethod
    def pool_for(self, commits: Commits, work: Collection[Pending], spec: EncoderSpec, roots: Iterable[Path]) -> Pool:
        """The workers of an encoder, those of before where they are of the same; as `embed`."""

    @abstractmethod
    def close(self) -> None:
        """End what was started."""
