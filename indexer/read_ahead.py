"""Threads that read images ahead of whoever uses them."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["read_ahead"]


@contextmanager
def read_ahead(name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool of as many threads as there are cores, 8 at most; at the end of the block what has not begun is dropped.

    So Ctrl-C waits for the images that are being read, a second at most (`decoders`), not for all that were asked for.

    Args:
        name: First part of the threads' names.
    """
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
