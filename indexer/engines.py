"""What may embed in place of this process, and what it does not do. Pure."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Protocol

from locatlas.errors import InputError
from locatlas.indexer.commits import Commits
from locatlas.indexer.pipeline import Pending, Progress
from locatlas.models.running import USUAL, Running
from locatlas.models.spec import EncoderSpec

__all__ = ["Engine", "require_local"]


class Engine(Protocol):
    """What embeds in place of this process, e.g. `cluster.engine.RayEngine`.

    Attributes:
        slab_rows: Rows that it is given at once, at most; a multiple of a commit.
    """

    slab_rows: int

    def embed(
        self,
        commits: Commits,
        work: Collection[Pending],
        spec: EncoderSpec,
        *,
        roots: Iterable[Path],
        progress: Progress | None = None,
    ) -> None:
        """As `pipeline.embed_pending`, with an encoder that it loads."""

    def check(self) -> None:
        """Refuse to be used where what it needs is not installed, before anything is written.

        Raises:
            InputError: Naming it.
        """


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
