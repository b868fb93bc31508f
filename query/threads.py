"""Threads for numpy work: row blocks side by side, each multiplying on its own core. No files; sets BLAS threads."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["in_threads", "one_blas_thread", "one_torch_thread"]

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


_torch_inside = 0
_torch_original = 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread in threads that start meanwhile, as `one_blas_thread` does for numpy.

    A thread takes torch's number when it first calls it, so the number is set before and put back after.
    """
    import torch

    global _torch_inside, _torch_original
    with _lock:
        if _torch_inside == 0:
            _torch_original = torch.get_num_threads()
        _torch_inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _torch_inside -= 1
            torch.set_num_threads(_torch_original)


def _n_cores() -> int:
    """Cores this process may use; not every system can tell, then all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[int], None], starts: range) -> None:
    """Call `work` with each start, in as many threads as this process has cores; the first error is raised."""
    with one_blas_thread(), ThreadPoolExecutor(_n_cores()) as pool:
        for _ in pool.map(work, starts):
            pass
