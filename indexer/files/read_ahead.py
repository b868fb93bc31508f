"""Threads that read images ahead of whoever uses them."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from locatlas.models.lanes import give_torch_threads

__all__ = ["read_ahead", "readers"]


def readers() -> int:
    """Threads that read ahead: as many as there are cores, 8 at most."""
    return min(8, os.cpu_count() or 1)


@contextmanager
def read_ahead(name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool of `readers()` threads; at the end of the block what has not begun is dropped.

    Each of them calls torch with one thread: small planes are not worth a second core, and a product that is cut over
    cores waits for whoever holds the other one, which here is the encoder.

    So Ctrl-C waits for the images that are being read, a second at most (`decoders`), not for all that were asked for.

    Args:
        name: First part of the threads' names.
    """
    n = readers()
    pool = ThreadPoolExecutor(max_workers=n, thread_name_prefix=name)
    try:
        give_torch_threads(pool, n, 1)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
