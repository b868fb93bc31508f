"""Threads for numpy work: row blocks side by side, each multiplying on its own core. No files; sets BLAS threads."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["in_threads", "n_cores", "one_blas_thread"]

_lock = threading.Lock()
_inside = 0  # threads that are limited now
_original: list[int] = []  # BLAS threads of each library before the first of them came


@cache
def _libraries() -> list[Any]:
    """The BLAS libraries in use, found once: looking for them takes longer than a look-up."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let matrix products of this thread, and of threads it starts, use one BLAS thread.

    One query is bounded by memory, and a second BLAS thread makes it wait for a busy core; row blocks in threads
    would fight for the cores. OpenBLAS keeps a number for all threads and one for each that set it, so every thread
    must put back what it changed: the numbers found before the first came in, since others may have come meanwhile.
    """
    global _inside
    libraries = _libraries()
    with _lock:
        if _inside == 0:
            _original[:] = [library.num_threads for library in libraries]
        _inside += 1
        for library in libraries:
            library.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            for library, number in zip(libraries, _original, strict=True):
                library.set_num_threads(number)


def n_cores() -> int:
    """Cores this process may use; not every system can tell, then all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[int], None], starts: range, *, torch_too: bool = False) -> None:
    """Call `work` with each start, in as many threads as this process has cores; the first error is raised.

    Args:
        work: Multiplies with one thread of numpy's library.
        starts: What it is called with.
        torch_too: It also calls torch, which is to use one thread in each of them.
    """
    n = n_cores()
    with one_blas_thread(), ThreadPoolExecutor(n) as pool:
        if torch_too:
            from locatlas.models.lanes import give_torch_threads  # torch, which numpy's work does not need

            give_torch_threads(pool, n, 1)
        for _ in pool.map(work, starts):
            pass
