"""Processes that decode files from outside, so that no file can take the run down. Starts processes.

Each call takes an idle process, or starts one, and gives it back; as many run as threads ask at once. They are started
anew and never forked, since the run has threads of its own and of its libraries.
"""

import atexit
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError, LocatlasError, escaped
from locatlas.indexer.files.decoder_process import GRACE_S, Decoder, EndedError, NotStartedError
from locatlas.indexer.files.limits import VARIABLE, limits
from locatlas.interrupts import check_stop

__all__ = ["Decoders", "decoders"]

KEPT = 16
"""Idle processes that are kept."""

MAX_REASON = 10_000
"""Characters of a reason that are shown; readers clip what they quote of a file themselves."""

_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from locatlas.indexer.files.decoder_worker import main; main()"
)


class Decoders:
    """Decoding processes; any number of threads may ask.

    Args:
        command: What is started; the default decodes.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = command
        self._idle: list[Decoder] = []
        self._lock = Lock()

    def start(self, n: int) -> None:
        """Let n processes be there or on their way, and do not wait for them.

        Args:
            n: >= 0. One that cannot be started is told of when an image is asked for.
        """
        with self._lock:
            missing = min(n, KEPT) - len(self._idle)
        with suppress(OSError):
            for _ in range(missing):
                self._give_back(self._begun())

    def ask(self, request: Mapping[str, Any], *, named: str) -> tuple[dict[str, Any], NDArray[Any] | None]:
        """The answer to a request. One that ends its process is tried once more, in a new one.

        Args:
            request: As `decoder_worker.OPERATIONS` have it.
            named: Path of the file, for messages.

        Returns:
            The answer, and the array that came with it.

        Raises:
            ImageRejectedError: If the file cannot be used, ends its decoder, or takes too much memory or time.
            LocatlasError: If no decoder can be started.
            OSError: If the system has no means to open any file (`opening.NOT_THE_FILES`).
        """
        full = {**request, "named": named, "limits": os.environ.get(VARIABLE, "")}
        limits()  # a variable that cannot be read is no fault of the file
        for last in (False, True):
            decoder = self._take(anew=last)
            try:
                answer, pixels = decoder.ask(full)
            except EndedError as error:
                check_stop()  # what ended it may have ended the run
                if last and isinstance(error, NotStartedError):
                    message = f"the process that decodes images cannot be started: {error}"
                    raise LocatlasError(message) from error
                if last or error.final:
                    message = f"{named}: {error}"
                    raise ImageRejectedError(message) from error
            except BaseException:  # a stop too: the rest of this answer would be taken for the next
                decoder.close(wait_s=0)
                raise
            else:
                self._give_back(decoder)
                if "system" in answer:
                    number, reason, path = answer["system"]
                    raise OSError(int(number), str(reason), str(path or named))
                if "rejected" in answer:
                    raise ImageRejectedError(escaped(str(answer["rejected"])[:MAX_REASON]))
                return answer, pixels
        raise AssertionError  # the second attempt returns or raises

    def _take(self, *, anew: bool) -> Decoder:
        with self._lock:
            if self._idle and not anew:
                return self._idle.pop()
        return self._begun()

    def _begun(self) -> Decoder:
        # paths of a checkout, of an editable install and of tests are found in the same way as here
        command = self._command or (sys.executable, "-c", _COMMAND, json.dumps(sys.path))
        return Decoder(command)

    def _give_back(self, decoder: Decoder) -> None:
        with self._lock:
            if len(self._idle) < KEPT:
                self._idle.append(decoder)
                return
        decoder.close(wait_s=GRACE_S)

    def close(self) -> None:
        """End the processes that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.close(wait_s=GRACE_S)

    def _forget(self) -> None:
        """In a forked process: the processes are its parent's."""
        self._idle, self._lock = [], Lock()


_OF_PROCESS = Decoders()
atexit.register(_OF_PROCESS.close)
os.register_at_fork(after_in_child=_OF_PROCESS._forget)


def decoders() -> Decoders:
    """Those of this process, started as they are needed and kept until it ends."""
    return _OF_PROCESS
