"""One process that decodes files from outside: asked, waited for, ended where it does not answer. Starts a process."""

import fcntl
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import one_line
from locatlas.indexer.files.decoder_worker import LENGTH
from locatlas.indexer.files.limits import VARIABLE, limits
from locatlas.interrupts import check_stop

__all__ = ["GRACE_S", "NO_ANSWER", "Decoder", "EndedError", "NotStartedError"]

NO_ANSWER = "the decoder gave an answer that is none"
"""What is said of one whose bytes are not what a decoder sends: a file may have taken it over."""

START_S = 120.0
"""Longest wait for a process to start; a cold disk takes its time."""

GRACE_S = 15.0
"""How much longer than a decoder may take its answer is waited for: it ends itself, unless it was stopped."""

STOP_POLL_S = 1.0
"""How long an answer is waited for after the program was asked to stop."""

MAX_ANSWER_BYTES = 2**30
"""Longest answer beside an array; that of a file with a million cells has some hundred MB."""

_DTYPE = re.compile(r"[<>|][uif]\d{1,2}")

_PIPE_BYTES = 2**20
_F_SETPIPE_SZ = 1031  # Linux; fcntl names it from Python 3.10 on there only


class EndedError(Exception):
    """A decoder ended, or was ended, before it answered.

    Args:
        reason: How.
        final: Whether another attempt would only take as long again.
    """

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final


class NotStartedError(EndedError):
    """As `EndedError`, of one that was still starting: no fault of a file."""


class Decoder:
    """One process; used by one thread at a time. It may still be starting: its first request waits for that.

    Args:
        command: What is started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._is_ready = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # one thread each: many decode at once, and a pool of threads reserves memory that the limit would count
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        # a session of its own: Ctrl-C is for the run, which ends its decoders
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        try:
            if sys.platform == "linux":
                with suppress(OSError):  # a user has a share of such memory; beyond it a pipe is slower, as it was made
                    fcntl.fcntl(self._from, _F_SETPIPE_SZ, _PIPE_BYTES)
            os.set_blocking(self._to, False)
        except BaseException:  # a stop (KeyboardInterrupt) too must not leave a process behind; raised again
            self.close(wait_s=0)
            raise

    def ask(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], NDArray[Any] | None]:
        """The answer to a request.

        Raises:
            EndedError: If the process ended instead; it cannot be used any more.
            NotStartedError: If it did before it was there.
        """
        if not self._is_ready:
            try:
                self._answer(time.monotonic() + START_S)
            except EndedError as error:
                raise NotStartedError(str(error), final=False) from error
            self._is_ready = True
        body = json.dumps(request).encode()
        deadline = time.monotonic() + limits().decoder_seconds + GRACE_S
        self._write(memoryview(LENGTH.pack(len(body)) + body), deadline)
        return self._answer(deadline)

    def _answer(self, deadline: float) -> tuple[dict[str, Any], NDArray[Any] | None]:
        length = LENGTH.unpack(self._read(np.empty(LENGTH.size, np.uint8), deadline).tobytes())[0]
        if length > MAX_ANSWER_BYTES:
            message = f"an answer of {length} bytes"
            raise self._ended(message)
        body = self._read(np.empty(length, np.uint8), deadline).tobytes()
        try:
            answer = json.loads(body)
            if not isinstance(answer, dict):
                raise self._ended(NO_ANSWER)
            if "shape" not in answer:
                return answer, None
            pixels = _array(answer["shape"], answer["dtype"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._ended(NO_ANSWER) from None
        self._read(pixels.reshape(-1).view(np.uint8), deadline)
        return answer, pixels

    def _write(self, data: memoryview, deadline: float) -> None:
        """Send bytes: more than the pipe holds wait for the decoder, which may have been stopped."""
        while data:
            self._wait(self._to, select.POLLOUT, deadline)
            try:
                data = data[os.write(self._to, data) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended() from None

    def _read(self, target: NDArray[np.uint8], deadline: float) -> NDArray[np.uint8]:
        """Fill an array of bytes."""
        view = target.data
        while view:
            self._wait(self._from, select.POLLIN, deadline)
            count = os.readv(self._from, [view])
            if not count:
                raise self._ended()
            view = view[count:]
        return target

    def _wait(self, pipe: int, event: int, deadline: float) -> None:
        """Wait until a pipe can be read or written, or is closed."""
        waiting = select.poll()
        waiting.register(pipe, event)
        while True:
            left = deadline - time.monotonic()
            if waiting.poll(max(0.0, min(left, STOP_POLL_S)) * 1000):
                return
            if left <= STOP_POLL_S:
                raise self._ended(f"no answer within {limits().decoder_seconds} s", final=True)
            check_stop()  # only the main thread gets the signal, and it waits for this one

    def _ended(self, why: str | None = None, *, final: bool = False) -> EndedError:
        """How the process ended; it is ended where it did not."""
        if why is None:
            try:
                code = self._process.wait(timeout=GRACE_S)
            except subprocess.TimeoutExpired:
                why = "the decoder closed its pipe"
            else:
                why, final = self._how(code), code == -signal.SIGALRM
        self.close(wait_s=0)
        return EndedError(why, final=final)

    def _how(self, code: int) -> str:
        if code == -signal.SIGALRM:
            seconds = limits().decoder_seconds
            return f"takes longer to decode than the {seconds} s allowed ({VARIABLE}, decoder_seconds)"
        if code < 0:
            known = {one.value: one.name for one in signal.Signals}  # not all that there are have names
            return f"the decoder was ended by {known.get(-code, f'signal {-code}')}, in a second attempt too"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines() or ["nothing said"]
        return f"the decoder ended with exit status {code}: {one_line(said[-1])}"

    def close(self, *, wait_s: float) -> None:
        """End the process: by its closed stdin within so many seconds, else at once."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def _array(shape: Any, dtype: Any) -> NDArray[Any]:
    """Room for the array that an answer announces.

    Raises:
        ValueError: If it announces none, or too large a one.
        TypeError: If there is no such dtype.
    """
    if not isinstance(shape, list) or not isinstance(dtype, str) or _DTYPE.fullmatch(dtype) is None:
        raise ValueError(NO_ANSWER)
    if any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(NO_ANSWER)
    kind = np.dtype(dtype)
    # an axis of length 0 does not make room for the others
    if math.prod(max(n, 1) for n in shape) * kind.itemsize > 2 * limits().bytes:
        raise ValueError(NO_ANSWER)
    return np.empty(shape, kind)
