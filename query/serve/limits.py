"""What a server gives to one request and to all of them: sizes, numbers, seconds; and the lanes that work runs in."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

__all__ = ["Budget", "BusyError", "Lane", "Places", "ServeLimits", "TooLongError", "one_blas_thread"]

Answer = TypeVar("Answer")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeLimits:
    """Limits of one server.

    Attributes:
        upload_bytes: Most bytes of one upload, all of its files and fields together; counted while they come in.
        upload_files: Most files of one upload.
        upload_seconds: Longest time that one may take to come in.
        quick_jobs: Look-ups and pictures that run at once.
        quick_waiting: How many more may wait.
        quick_seconds: Longest time that one is waited for.
        heavy_jobs: Uploads, sweeps and votes on all rows that run at once.
        heavy_waiting: How many more may wait. Of uploads, no more than both together come in at once.
        heavy_seconds: Longest time that one is waited for.
        sending_bytes: Tables that are being sent, all together; a single one may be larger.
        kept_bytes: Answers that are kept until a table changes.
        kept_pixels: Decoded images that are kept for pictures of the cells in them, in pixels over all channels.
    """

    upload_bytes: int = 256 * 2**20
    upload_files: int = 8
    upload_seconds: float = 300
    quick_jobs: int = 8
    quick_waiting: int = 64
    quick_seconds: float = 60
    heavy_jobs: int = max(1, _cores() // 2)
    heavy_waiting: int = 4
    heavy_seconds: float = 180
    sending_bytes: int = 512 * 2**20
    kept_bytes: int = 64 * 2**20
    kept_pixels: int = 64 * 2**20


def one_blas_thread() -> Any:
    """Let matrix products that this thread starts use one thread, from now on; what it gives can undo it.

    Requests run beside each other, so that more threads would only fight for the cores. OpenBLAS keeps the number for
    each thread that set it: where the main thread has another one than those that search, its threads spin, and a
    look-up among 200,000 vectors takes 100 to 400 ms of core time instead of 50.
    """
    return threadpool_limits(1, user_api="blas")


class BusyError(Exception):
    """As many requests wait as may."""


class TooLongError(Exception):
    """A request took longer than is waited for."""


class Places:
    """How many requests may be about something at once, on the event loop; who comes beyond is sent away.

    Args:
        most: Their number.
    """

    def __init__(self, most: int) -> None:
        self._free = most

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place for as long as the context lasts.

        Raises:
            BusyError: If none is free.
        """
        if self._free < 1:
            raise BusyError
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


class Budget:
    """How many bytes may be held at once, on the event loop; who comes beyond is sent away.

    Args:
        most: Their number. One alone may take more, so that nothing is too large to be had at all.
    """

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0

    @contextmanager
    def take(self, n: int) -> Iterator[None]:
        """So many of them for as long as the context lasts.

        Raises:
            BusyError: If others leave too few.
        """
        if self._taken and self._taken + n > self._most:
            raise BusyError
        self._taken += n
        try:
            yield
        finally:
            self._taken -= n


class Lane:
    """Threads for one kind of work, off the event loop, with an end to how much is taken on and how long it may take.

    A thread cannot be stopped from outside: work that took too long keeps its thread until it ends, so that never more
    than `jobs` run, whatever is asked.

    Args:
        name: Of its threads.
        jobs: Work that runs at once.
        waiting: Work that may wait for that.
        seconds: Longest time that one piece of work, waiting included, may take.
    """

    def __init__(self, name: str, *, jobs: int, waiting: int, seconds: float) -> None:
        self._most, self._seconds = jobs + waiting, seconds
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix=f"locatlas-{name}", initializer=one_blas_thread)
        self._lock = threading.Lock()
        self._taken = 0

    @property
    def taken(self) -> int:
        """Work that runs or waits now."""
        return self._taken

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """What the work returns.

        Raises:
            BusyError: If too much is waiting already.
            TooLongError: If it takes too long.
        """
        with self._lock:
            if self._taken >= self._most:
                raise BusyError
            self._taken += 1
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._ended())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError:
            raise TooLongError from None

    def _ended(self) -> None:
        with self._lock:
            self._taken -= 1

    def close(self) -> None:
        """Take nothing on any more; what waits is dropped, what runs goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)
