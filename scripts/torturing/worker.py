"""A process that does what it is told on an atlas, and can be killed, starved or made to fail. Forked; POSIX only.

The parent imports everything and never touches an atlas, so that it has no runtime of Lance that a fork could break; a
worker lives until it is killed.
"""

import multiprocessing as mp
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from torturing.faults import steps

__all__ = ["Ended", "Fault", "Worker"]

PATIENCE_S = 1800.0
"""After which a worker counts as hung."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong while a command runs.

    Attributes:
        kind: "none", "kill" (at a step), "timer" (a signal from outside), "error" (at a step), "fsize", "nofile", or
            "full" (a disk; it is filled by the caller).
        step: Of "kill" and "error".
        after: Whether it happens after that step.
        number: errno of "error"; bytes of "fsize" and "full"; open files of "nofile"; milliseconds of "timer".
        stays: Whether each later step fails as well.
    """

    kind: str = "none"
    step: int = 0
    after: bool = False
    number: int = 0
    stays: bool = False

    def __str__(self) -> str:
        parts = [self.kind, str(self.step) if self.step else "", "after" if self.after else "", str(self.number or "")]
        return " ".join([*filter(None, parts), *(["staying"] if self.stays else [])])


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        how: "ok", "failed" (an error of the program's own, or of the system), "crashed" (any other), "killed", "hung".
        value: What it returned.
        error: One line.
        trace: Where it came from.
        steps: Names of the steps that were taken.
        seconds: Wall time.
    """

    how: str
    value: Any = None
    error: str = ""
    trace: str = ""
    steps: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Worker:
    """One process at a time.

    Args:
        prepare: Called in each new process, e.g. to put another encoder in place.
    """

    def __init__(self, prepare: Callable[[], None]) -> None:
        self._prepare = prepare
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(
        self, function: Callable[..., Any], *args: Any, watch: Path, fault: Fault = Fault(), **options: Any
    ) -> None:
        """Let it call a function of a module; `wait` tells how it ended."""
        if self._process is None or not self._process.is_alive():
            self._fork()
        assert self._pipe is not None
        self._pipe.send((function, args, options, str(watch), fault))

    def wait(self, *, kill_after_s: float | None = None) -> Ended:
        """How the command ended.

        Args:
            kill_after_s: Kill it after so many seconds, if it still runs.
        """
        assert self._pipe is not None
        began = time.perf_counter()
        try:
            if not self._pipe.poll(PATIENCE_S if kill_after_s is None else kill_after_s):
                self.stop()
                return Ended("hung" if kill_after_s is None else "killed", seconds=time.perf_counter() - began)
            ended: Ended = self._pipe.recv()
        except (EOFError, ConnectionError):  # it died
            self.stop()
            return Ended("killed", seconds=time.perf_counter() - began)
        return ended

    def call(
        self, function: Callable[..., Any], *args: Any, watch: Path, fault: Fault = Fault(), **options: Any
    ) -> Ended:
        """Start and wait."""
        self.start(function, *args, watch=watch, fault=fault, **options)
        return self.wait(kill_after_s=fault.number / 1000 if fault.kind == "timer" else None)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _fork(self) -> None:
        self.stop()
        self._pipe, theirs = mp.Pipe()
        context = mp.get_context("fork")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nothing of Lance runs in this process
            self._process = context.Process(target=_serve, args=(theirs, self._prepare), daemon=True)
            self._process.start()
        theirs.close()


def _serve(pipe: Connection, prepare: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()
    while True:
        try:
            function, args, options, watch, fault = pipe.recv()
        except EOFError:
            return
        pipe.send(_done(function, args, options, Path(watch), fault))


def _done(function: Callable[..., Any], args: Any, options: Any, watch: Path, fault: Fault) -> Ended:
    how: dict[str, Any] = {}
    if fault.kind == "kill":
        how = {"at": fault.step, "after": fault.after}
    elif fault.kind == "error":

        def fail() -> None:
            raise OSError(fault.number, os.strerror(fault.number))

        how = {"at": fault.step, "after": fault.after, "act": fail, "stays": fault.stays}
    began = time.perf_counter()
    with steps(watch, **how) as watched:
        try:
            with _starved(fault):
                value = function(*args, **options)
        except BaseException as error:  # noqa: BLE001 (told to the parent, which judges it; Rust panics are none of Exception)
            where, kind = traceback.format_exc(), "failed" if _is_told(error) else "crashed"
            text = f"{type(error).__name__}: {error}"
            return Ended(kind, None, text, where, watched.taken, time.perf_counter() - began)
    return Ended("ok", value, "", "", watched.taken, time.perf_counter() - began)


def _is_told(error: BaseException) -> bool:
    """Whether the command line tells it in one line."""
    from locatlas.errors import LocatlasError

    return isinstance(error, LocatlasError | OSError)


class _starved:
    """Limits of the process, for the length of a block."""

    def __init__(self, fault: Fault) -> None:
        self._what = {"fsize": resource.RLIMIT_FSIZE, "nofile": resource.RLIMIT_NOFILE}.get(fault.kind)
        self._limit = fault.number
        if fault.kind == "nofile":
            lowest = os.open(os.devnull, os.O_RDONLY)  # the first number that is free
            os.close(lowest)
            self._limit += lowest

    def __enter__(self) -> None:
        if self._what is not None:
            self._before = resource.getrlimit(self._what)
            resource.setrlimit(self._what, (self._limit, self._before[1]))

    def __exit__(self, *_: object) -> None:
        if self._what is not None:
            resource.setrlimit(self._what, self._before)
