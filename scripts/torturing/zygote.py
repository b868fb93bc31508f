"""Workers below a process that has imported everything: for a parent with threads that no fork takes along. POSIX."""

import multiprocessing as mp
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from torturing.worker import Ended, Fault, Worker

__all__ = ["Zygote", "import_all"]


def import_all() -> None:
    """Whatever takes long to import, before processes are forked; nothing of it starts to work here."""
    import faiss  # noqa: F401
    import lance.dataset  # noqa: F401
    import sklearn.decomposition  # noqa: F401  # of a map

    import locatlas.indexer.annotation.bring_in
    import locatlas.indexer.embed
    import locatlas.indexer.importing.run
    import locatlas.indexer.index
    import locatlas.indexer.indices.refresh
    import locatlas.indexer.maintain
    import locatlas.indexer.verify.run
    import locatlas.models.encode
    import locatlas.query.atlas  # noqa: F401


class Zygote:
    """Several workers, each of which calls one function at a time.

    Args:
        prepare: Called in each new worker; a function of a module.
        workers: How many.
    """

    def __init__(self, prepare: Callable[[], None], *, workers: int = 1) -> None:
        self._pipe, theirs = mp.Pipe()
        self._process = mp.get_context("spawn").Process(target=_serve, args=(theirs, prepare, workers))
        self._process.start()
        theirs.close()

    def start(self, function: Callable[..., Any], *args: Any, by: int = 0, **options: Any) -> None:
        """Let a worker call a function; options as of `Worker.start`."""
        self._ask("start", by, function, *args, **options)

    def wait(self, *, by: int = 0, kill_after_s: float | None = None) -> Ended:
        """How it ended."""
        ended: Ended = self._ask("wait", by, kill_after_s=kill_after_s)
        return ended

    def call(
        self,
        function: Callable[..., Any],
        *args: Any,
        watch: Path,
        fault: Fault | None = None,
        by: int = 0,
        **options: Any,
    ) -> Ended:
        """Start and wait."""
        ended: Ended = self._ask("call", by, function, *args, watch=watch, fault=fault or Fault(), **options)
        return ended

    def stop(self) -> None:
        """End all of them."""
        self._pipe.send(None)
        self._process.join()
        self._pipe.close()

    def _ask(self, method: str, by: int, *args: Any, **options: Any) -> Any:
        self._pipe.send((method, by, args, options))
        return self._pipe.recv()


def _serve(pipe: Connection, prepare: Callable[[], None], n: int) -> None:
    import_all()
    workers = [Worker(prepare) for _ in range(n)]
    try:
        while (asked := pipe.recv()) is not None:
            method, by, args, options = asked
            pipe.send(getattr(workers[by], method)(*args, **options))
    except EOFError:
        pass
    finally:
        for worker in workers:
            worker.stop()
