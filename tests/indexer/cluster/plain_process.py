"""The process of a device with an encoder that costs nothing, forked, so that tests may start many."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cluster import process
from locatlas.indexer.cluster.parts import Answer, unpacked
from locatlas.indexer.cluster.worker import Worker, _Shared
from locatlas.indexer.pixel_cache import reading
from locatlas.indexer.records import ImageRecord
from tests.forking import Forked, Forks
from tests.indexer.made import PlainEncoder

PROGRAM = "from tests.indexer.cluster.plain_process import main; main(FDS[0])"

POISON = "LOCATLAS_TEST_POISON"
"""Names an image that ends its process."""

NO_DECODING = "LOCATLAS_TEST_NO_DECODING"
"""Set where no image may be decoded."""


class PlainWorker(Worker):
    def load(self) -> None:
        self._encoder: Any = _Shared(PlainEncoder(self._spec))
        self._reading = ThreadPoolExecutor(1)

    def embed(self, data: bytes) -> Answer:
        if any(pending.record.id == os.environ.get(POISON) for pending in unpacked(data)):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(data)


def started(commands: Forks, descriptor: int, _errors: IO[bytes], *, threads: int) -> Forked:
    """In the place of what starts a process."""
    program = commands.start(PROGRAM, fds=[descriptor], own_session=True)
    program.close()
    return program


def _refused(record: ImageRecord) -> Any:
    message = f"{record.id} was to be decoded"
    raise ImageRejectedError(message)


def main(descriptor: int) -> None:
    if NO_DECODING in os.environ:
        reading.read_image = _refused
    process.Worker = PlainWorker  # type: ignore[misc]
    process.serve(descriptor)
