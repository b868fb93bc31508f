"""What runs on each worker: an encoder that is held, and images read and encoded by the code of one process. I/O."""

import os
import platform
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError, LocatlasError
from locatlas.indexer.cluster.parts import Answer, unpacked
from locatlas.indexer.commits import FROM_PIXELS
from locatlas.indexer.files.fields import SharedFields
from locatlas.indexer.files.limits import VARIABLE
from locatlas.indexer.pipeline import encoded
from locatlas.indexer.pixel_cache.reading import PixelCache
from locatlas.indexer.reading import EncoderLike, in_order
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.ledger import versions
from locatlas.models.running import USUAL, Running
from locatlas.models.spec import EncoderSpec

__all__ = ["Sight", "Worker"]


def program() -> str:
    """Version of locatlas that is installed here."""
    return versions().get("locatlas", "not installed")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a machine must see as the one does that runs the command.

    Attributes:
        folders: Absolute paths of the roots of images.
        files: Path and bytes of some images.
        version: Of locatlas.
        limits: `LOCATLAS_LIMITS` of the run.
    """

    folders: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    version: str = field(default_factory=program)
    limits: str = ""

    def check(self) -> None:
        """Look at it here.

        Raises:
            InputError: Naming this machine and what it does not see.
        """
        node = platform.node()
        if self.version != (here := program()):
            message = f"worker {node} has locatlas {here}, this run is of {self.version}; install the same there"
            raise InputError(message)
        for folder in self.folders:
            if not os.path.isdir(folder):
                message = f"worker {node} does not see {folder}, where images lie; mount it there under the same path"
                raise InputError(message)
        for path, size in self.files:
            try:
                there = os.path.getsize(path)
            except OSError as error:
                message = f"worker {node} does not see {path} ({error.strerror}); mount its folder there"
                raise InputError(message) from error
            if there != size:
                message = f"worker {node} sees another file at {path}: {there} bytes, not {size}"
                raise InputError(message)


class _Shared:
    """An encoder for several threads: images are prepared side by side, one batch is encoded at a time."""

    def __init__(self, encoder: EncoderLike) -> None:
        self._encoder, self._lock = encoder, threading.Lock()
        self.at_once = encoder.at_once

    def prepare(self, image: Any) -> Any:
        return self._encoder.prepare(image)

    def encode_prepared(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        with self._lock:
            return self._encoder.encode_prepared(prepared)


class Worker:
    """A process with an encoder. Two parts are embedded at a time: one is read while the other is encoded.

    Args:
        spec: Of the encoder.
        sight: What is to be seen here.
        threads: Of the network on a CPU, and that read images, unless `readers` says otherwise.
        running: How the network is run.
        readers: Threads that read images; None for as many as the network has.
        atlas: Whose decoded images are used where this machine sees its folder.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        sight: Sight,
        threads: int,
        running: Running = USUAL,
        readers: int | None = None,
        atlas: AtlasFolder | None = None,
    ) -> None:
        self._spec, self._sight, self._threads, self._running = spec, sight, threads, running
        self._readers = readers or threads
        self._ran_on = ""
        self._cache = None if atlas is None else PixelCache(atlas)
        self._fields = SharedFields(cache=self._cache)
        self._encoder: EncoderLike | None = None
        self._reading: ThreadPoolExecutor | None = None

    def ready(self) -> tuple[str, int]:
        """Load the encoder on a worker of Ray; its name of this machine, and the number of this process.

        Raises:
            InputError: As `load`.
        """
        import ray

        self.load()
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def load(self) -> None:
        """Load the encoder.

        Raises:
            InputError: If something is not to be seen here, or the encoder cannot be loaded.
        """
        import torch

        from locatlas.models.encode import load_encoder
        from locatlas.models.lanes import give_torch_threads

        os.environ[VARIABLE] = self._sight.limits
        self._sight.check()
        torch.set_num_threads(self._threads)
        try:
            encoder = load_encoder(self._spec, **self._running.chosen)
        except LocatlasError as error:
            message = f"worker {platform.node()}: {error}"
            raise InputError(message) from error
        self._encoder, self._ran_on = _Shared(encoder), encoder.ran_on
        n = self._readers + 1
        self._reading = ThreadPoolExecutor(n, thread_name_prefix="locatlas-read")
        give_torch_threads(self._reading, n, 1)  # as `read_ahead` has it

    def embed(self, data: bytes) -> Answer:
        """Embed a part, as `pipeline.embed_pending` would."""
        assert self._encoder is not None  # it was loaded
        assert self._reading is not None
        seconds: defaultdict[str, float] = defaultdict(float)

        @contextmanager
        def timed(stage: str) -> Iterator[None]:
            start = perf_counter()
            yield
            seconds[stage] += perf_counter() - start

        work = unpacked(data)
        place = {id(pending.row): n for n, pending in enumerate(work)}
        loaded = in_order(work, self._encoder, self._reading, self._spec.crop, fields=self._fields)
        places, columns, vectors, rejected = list[int](), list[dict[str, Any] | None](), [], list[tuple[int, str]]()
        for batch in encoded(work, loaded, self._encoder, timed):
            for item in batch.good:
                places.append(place[id(item.pending.row)])
                # what the atlas knows already is not made again, nor sent
                columns.append({name: item.row[name] for name in FROM_PIXELS} if item.is_new else None)
            vectors += batch.vectors
            rejected += [(place[id(row)], rejection.reason) for row, rejection in batch.bad]
        found = np.concatenate(vectors) if vectors else None
        from_pack = 0 if self._cache is None else self._cache.take_count()
        return Answer(places, columns, found, rejected, dict(seconds), self._ran_on, from_pack)
