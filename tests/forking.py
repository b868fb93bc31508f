"""Programs that want a process of their own, forked from one that has imported what takes seconds each time.

Run as a module it is that process, below which each program has a second that waits for it; not a test. It is asked on
a socket: for a program the length of what `_child` takes, pickled, with descriptors for its stdin, stdout and stderr,
and for its number and how it ended; then that itself.
"""

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

LONGEST_S = 180
"""After which a program is ended."""

COMMANDS = """
import pyarrow.parquet, rich.table, torch
import locatlas.cli.annotating, locatlas.cli.building, locatlas.cli.built, locatlas.cli.importing, locatlas.cli.keeping
import locatlas.cli.status
import locatlas.indexer.annotation.bring_in, locatlas.indexer.cluster.process, locatlas.indexer.importing.run
import locatlas.indexer.maintain
import locatlas.indexer.datasets.manifest, locatlas.indexer.datasets.opencell, locatlas.indexer.indices.refresh
import locatlas.query.asking.warm, locatlas.query.atlas, tests.cli.stopping
from PIL import Image
Image.init()
"""
"""Imports what most commands of locatlas do; those of Pillow's plug-ins come with the first image."""

OF_EACH_RANK = """
import os, sys
children = []
for rank in range(int(os.environ["WORLD_SIZE"])):
    if (child := os.fork()) == 0:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        main(*sys.argv[1:])
        sys.exit(0)
    children.append(child)
sys.exit(max((os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), key=abs))
"""
"""After a line that imports `main`: what torchrun does. All that it imports is imported once."""


def torchrun() -> dict[str, str]:
    """What torchrun tells two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}


class Forked:
    """A program that runs, as `subprocess.Popen` would have it. A context manager: at its end it is gone.

    Args:
        told: Where its number and then its exit code are told, a line each.
        stdin: What it reads.
        stdout: What it writes.
        stderr: What it writes there.
    """

    def __init__(self, told: Any, stdin: Any, stdout: Any, stderr: Any) -> None:
        self._told, self.stdin, self.stdout, self.stderr = told, stdin, stdout, stderr
        self.pid = int(told.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative where a signal ended it; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("forked", timeout or 0.0)
            with self._told:
                self.returncode = int(self._told.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        """To a program that runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, said: str = "") -> tuple[str, str]:
        """Give it its stdin; what it wrote, to its end."""
        with ThreadPoolExecutor(1) as pool:
            errors = pool.submit(self.stderr.read)
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(said)
            written = self.stdout.read()
            self.wait()
            return written, errors.result()

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()
        self.close()

    def close(self) -> None:
        """Give it nothing more, and read nothing of it."""
        for stream in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class Forks:
    """The process, started with its first program.

    Args:
        imports: Python that imports what all programs are to have.
    """

    def __init__(self, imports: str) -> None:
        self._imports = imports
        self._process: subprocess.Popen[bytes] | None = None
        self._ask: socket.socket

    def start(
        self,
        code: str,
        *argv: object,
        environment: Mapping[str, str] | None = None,
        paths: Sequence[Path] = (),
        fds: Sequence[int] = (),
        own_session: bool = False,
        shuts_down: bool = False,
    ) -> Forked:
        """As `python -c code argv...` would.

        Args:
            code: Python.
            argv: Its arguments.
            environment: What is added to that of this process.
            paths: What is put before all on the path.
            fds: Descriptors that it has too, as a list FDS, since their numbers are others there.
            own_session: Whether it leads a session, which no Ctrl-C of a terminal reaches.
            shuts_down: Whether it ends as Python does, waiting for its threads, and not at once.
        """
        if self._process is None:
            self._ask, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.forking", str(theirs.fileno()), self._imports],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                    cwd=ROOT,
                )
        asked = {
            "code": textwrap.dedent(code),
            "argv": [str(word) for word in argv],
            "environment": {**os.environ, **(environment or {})},
            "paths": [str(path) for path in paths],
            "own_session": own_session,
            "shuts_down": shuts_down,
        }
        (stdin, given), *pipes = (os.pipe() for _ in range(4))
        theirs_of_all = [stdin, *(write for _, write in pipes)]
        data = pickle.dumps(asked)
        socket.send_fds(self._ask, [len(data).to_bytes(8)], [*theirs_of_all, *fds])
        self._ask.sendall(data)
        for descriptor in theirs_of_all:
            os.close(descriptor)
        stdout, stderr, told = (os.fdopen(read) for read, _ in pipes)
        return Forked(told, os.fdopen(given, "w"), stdout, stderr)

    def run(self, code: str, *argv: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """As `start`, to its end."""
        with self.start(code, *argv, **options) as program:
            stdout, stderr = program.communicate()
            return subprocess.CompletedProcess(code, program.wait(), stdout, stderr)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._ask.close()
            self._process.wait()


def _child(asked: Mapping[str, Any], streams: Sequence[int], fds: Sequence[int]) -> int:
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if asked["own_session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(LONGEST_S)
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["-c", *asked["argv"]]
    sys.path[:0] = asked["paths"]
    code = 0
    try:
        exec(compile(asked["code"], "<string>", "exec"), {"__name__": "__main__", "FDS": list(fds)})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (a program says whatever it raises)
        traceback.print_exc()
        code = 1
    if asked["shuts_down"]:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _serve(asks: socket.socket) -> None:
    while len(head := (received := socket.recv_fds(asks, 8, 16))[0]) == 8:
        descriptors = received[1]
        data = asks.recv(int.from_bytes(head), socket.MSG_WAITALL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            asks.close()
            stdin, stdout, stderr, told, *fds = descriptors
            if (child := os.fork()) == 0:
                os.close(told)
                os._exit(_child(pickle.loads(data), (stdin, stdout, stderr), fds))
            for descriptor in (stdin, stdout, stderr, *fds):
                os.close(descriptor)
            os.write(told, b"%d\n" % child)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with contextlib.suppress(BrokenPipeError):
                os.write(told, b"%d\n" % code)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    exec(sys.argv[2])
    gc.freeze()  # no child copies memory in order to look at what lives for ever
    with socket.socket(fileno=int(sys.argv[1])) as asking:
        _serve(asking)
