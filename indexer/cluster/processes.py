"""Workers as processes of this machine, one a device: started, asked for parts, replaced when they die.

They are started anew, as decoders are, and not by `multiprocessing`, which would run the caller's own script once more
in each.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO, Any

from locatlas.errors import InputError, LocatlasError, one_line
from locatlas.indexer.cluster.parts import LOST_IN_A_ROW, Answer, Died, Part, given_out, room
from locatlas.indexer.cluster.worker import Sight
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.models.running import Running
from locatlas.models.spec import EncoderSpec

__all__ = ["COMMAND", "ProcessPool"]

logger = logging.getLogger(__name__)

GRACE_S = 15.0
"""How long a process may take to end after its connection did."""

COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from locatlas.indexer.cluster.process import serve; serve(int(sys.argv[2]))"
)
"""What is started; takes the paths to import from, and the number of its connection."""


def _started(descriptor: int, errors: IO[bytes], *, threads: int) -> "subprocess.Popen[bytes]":
    command = (sys.executable, "-c", COMMAND, json.dumps(sys.path), str(descriptor))
    # a session of its own: Ctrl-C is for the run, which ends its workers
    return subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        pass_fds=[descriptor],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        start_new_session=True,
    )


class _Process:
    """A worker as the pool sees it.

    Args:
        asked: Arguments of its `Worker`.

    Attributes:
        running: How it runs the network.
        is_ready: Whether its encoder is loaded.
        parts: What it was given, by number.
    """

    def __init__(self, asked: tuple[EncoderSpec, Sight, int, Running, int, AtlasFolder | None]) -> None:
        self.asked, self.running = asked, asked[3]
        self.is_ready = False
        self.parts: dict[int, Part] = {}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.connection: Connection[Any, Any]
        self.connection, theirs = Pipe()
        with theirs:
            self._process = _started(theirs.fileno(), self._errors, threads=asked[2])
        self.send(asked)

    @property
    def number(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, what: Any) -> None:
        """Send something; to one that has died nothing, which `outcomes` finds."""
        try:
            self.connection.send(what)
        except (BrokenPipeError, ConnectionResetError):
            return

    def how_it_ended(self) -> str:
        """On one line; it is ended where it did not."""
        try:
            code = self._process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        if code < 0:
            known = {one.value: one.name for one in signal.Signals}
            return f"ended by {known.get(-code, f'signal {-code}')}"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines() or ["nothing said"]
        return f"ended with exit status {code}: {one_line(said[-1])}"

    def close(self) -> None:
        """End it at once: it holds nothing that matters."""
        self._process.kill()
        self._process.wait()
        self.connection.close()
        self._errors.close()


class ProcessPool:
    """The workers of one encoder.

    Args:
        spec: Of the encoder.
        sight: Limits of this run.
        threads: Of each worker's network on a CPU.
        readers: Of each worker that read images.
        running: How each runs the network, one a worker.
        atlas: Whose decoded images they use.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        sight: Sight,
        *,
        threads: int,
        readers: int,
        running: Sequence[Running],
        atlas: AtlasFolder | None = None,
    ) -> None:
        self._workers: list[_Process] = []
        self._ever_ready = False
        self._lost = 0
        self._numbers = 0
        try:
            for one in running:
                self._workers.append(_Process((spec, sight, threads, one, readers, atlas)))
        except BaseException:  # a stop too must not leave processes behind; raised again
            self.close()
            raise

    @property
    def room(self) -> int:
        """Parts that could be given out now."""
        return sum(room(worker.parts.values()) for worker in self._workers if worker.is_ready)

    @property
    def processes(self) -> dict[int, str]:
        """The device of each process, by its number."""
        return {worker.number: worker.running.device for worker in self._workers}

    def send(self, todo: deque[Part], data: Callable[[Part], bytes]) -> None:
        """See `drive.Pool`."""
        ready = [worker for worker in self._workers if worker.is_ready]
        for worker, part in given_out(todo, ready, lambda one: one.parts.values()):
            self._numbers += 1
            worker.parts[self._numbers] = part
            worker.send((self._numbers, data(part)))

    def outcomes(self, timeout_s: float) -> list[tuple[Part, Answer | Died]]:
        """See `drive.Pool`.

        Raises:
            InputError: If a worker cannot load its encoder.
            LocatlasError: If no worker is left, or all die.
        """
        by_connection = {worker.connection: worker for worker in self._workers}
        found: list[tuple[Part, Answer | Died]] = []
        for connection in wait(list(by_connection), timeout_s):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                kind, *said = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                found += self._gone(worker)
                continue
            if kind == "answer":
                self._lost = 0
                found.append((worker.parts.pop(said[0]), said[1]))
            elif kind == "ready":
                worker.is_ready = self._ever_ready = True
            elif kind == "unfit":
                self._unfit(worker, said[0])
            elif kind == "told":
                logger.log(said[0], "%s: %s", worker.running.device, said[1])
            else:
                raise said[0]
        return found

    def _gone(self, worker: _Process) -> list[tuple[Part, Answer | Died]]:
        reason = worker.how_it_ended()
        lost = list(worker.parts.values())
        self._workers.remove(worker)
        worker.close()
        self._lost += 1
        if self._lost >= LOST_IN_A_ROW or not self._ever_ready:
            message = f"the worker on {worker.running.device} {reason}"
            if self._lost > 1:
                message += f"; {self._lost} were lost one after another without an answer"
            raise LocatlasError(message)
        logger.warning(
            "the worker on %s was lost (%s); another one takes its place, and its %d open parts are done again",
            worker.running.device, reason, len(lost),
        )  # fmt: skip
        self._workers.append(_Process(worker.asked))
        return [(part, Died(reason)) for part in lost]

    def _unfit(self, worker: _Process, reason: str) -> None:
        self._workers.remove(worker)
        worker.close()
        message = f"{worker.running.device}: {reason}"
        if not self._ever_ready or not self._workers:
            raise InputError(message)
        # one that took the place of another, e.g. on a device that is gone
        logger.warning("%s; goes on without it", message)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()
        self._workers = []
