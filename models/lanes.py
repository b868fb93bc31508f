"""Forward passes side by side on a CPU, each with cores of its own. Starts threads and sets how many torch uses there.

A product that is cut over all cores waits at its end for the slowest of them: where anything else wants a core (images
that are read, decoders), each of a pass' hundred products waits for a thread that does not run. Passes side by side
wait for nothing, and a pass has the same bits with one thread as with two.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["MOST", "Lanes", "give_torch_threads", "lanes_here"]

MOST = 8
"""Lanes at most: the pipeline's batches of 32 images make eight passes of four."""

_lock = threading.Lock()

A = TypeVar("A")
B = TypeVar("B")


def lanes_here() -> int:
    """How many passes run side by side here: one for each of torch's threads, `MOST` at most."""
    return min(MOST, torch.get_num_threads())


class Lanes:
    """Threads that run passes, `lanes_here()` of them, started when they are first needed.

    Torch's threads are shared out among them evenly.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def map(self, work: Callable[[A], B], items: Sequence[A]) -> Iterable[B]:
        """The results in order; a single item, or a machine of one thread, is worked on in the calling thread."""
        if len(items) < 2 or lanes_here() < 2:
            return map(work, items)
        with self._starting:
            if self._pool is None:
                n = lanes_here()
                self._pool = ThreadPoolExecutor(n, thread_name_prefix="locatlas-lane")
                give_torch_threads(self._pool, n, torch.get_num_threads() // n)
        return self._pool.map(work, items)


def give_torch_threads(pool: ThreadPoolExecutor, n: int, each: int) -> None:
    """Let the pool's n threads, and no others, call torch with so many threads each.

    Torch keeps a number for each thread that has called it and one for those to come, and setting the first sets the
    second, which is put back as soon as all threads of the pool have taken theirs.

    Args:
        pool: Of `n` threads, none of which has anything to do.
        n: >= 1.
        each: >= 1.
    """
    before = torch.get_num_threads()
    all_have = threading.Barrier(n)

    def take(_: int) -> None:
        torch.set_num_threads(each)
        torch.get_num_threads()  # a thread's first question would otherwise take the number for those to come
        all_have.wait()

    with _lock:
        for _ in pool.map(take, range(n)):
            pass
        torch.set_num_threads(before)
