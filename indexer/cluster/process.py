"""The process of one device: parts of the work on its connection, answers back. I/O.

It ends when the connection does, so none outlives the run that started it.
"""

import logging
import os
import pickle
import traceback
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from locatlas.errors import LocatlasError
from locatlas.indexer.cluster.parts import OPEN_PARTS
from locatlas.indexer.cluster.worker import Worker

__all__ = ["serve"]


class _Teller(logging.Handler):
    """Gives what is logged here to the one who runs the command, who alone says anything."""

    def __init__(self, send: Any) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, as text."""
        self._send("told", record.levelno, record.getMessage())


def serve(descriptor: int) -> None:
    """Load an encoder and embed parts until the connection ends.

    Args:
        descriptor: Of the connection. First comes what `Worker` takes, then (number, data) of parts. Back go
            ("ready",) or ("unfit", reason), then ("answer", number, answer), ("failed", error), ("told", level, text).
    """
    connection: Connection[Any, Any] = Connection(descriptor)
    lock = Lock()

    def send(*message: Any) -> None:
        try:
            with lock:
                connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # nobody waits for an answer any more

    logging.getLogger("locatlas").addHandler(_Teller(send))
    worker = Worker(*connection.recv())
    try:
        worker.load()
    except LocatlasError as error:
        send("unfit", str(error))
        return
    send("ready")

    def embed(number: int, data: bytes) -> None:
        try:
            send("answer", number, worker.embed(data))
        except Exception as error:  # noqa: BLE001  raised again by the one who runs the command
            send("failed", _sendable(error))

    threads = ThreadPoolExecutor(OPEN_PARTS)
    while True:
        try:
            number, data = connection.recv()
        except (EOFError, ConnectionResetError):
            os._exit(0)  # at once: what is being embedded is nobody's
        threads.submit(embed, number, data)


def _sendable(error: Exception) -> Exception:
    """The error, with where it came from if it is no fault of the user's; its text where it does not travel."""
    if not isinstance(error, LocatlasError | OSError):
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except (TypeError, AttributeError, pickle.PicklingError):
        return LocatlasError(str(error))
    return error
