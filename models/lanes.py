"""Forward passes side by side on a CPU, each with cores of its own. Starts threads and sets how many torch uses there.

A product that is cut over all cores waits at its end for the slowest of them: where anything else wants a core (images
that are read, decoders), each of a pass' hundred products waits for a thread that does not run. Passes side by side
wait for nothing.

A pass' bits may depend on its number of threads (bf16 on a ViT-S: 3 to 8 differ from 1 and 2). So all passes of an
encoder run here, a single one too: in a run that is continued another pass may be the one that has nothing beside it.
With a thread each, which is the rule, vectors have the same bits however many cores there are.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["MOST_IMAGES", "Lanes", "give_torch_threads", "in_one_thread", "lanes_here"]

MOST_IMAGES = 256
"""Images in all lanes together: those that are cut into batches by themselves (`pipeline.CHUNK_ROWS`)."""

_lock = threading.Lock()

A = TypeVar("A")
B = TypeVar("B")


def lanes_here(size: int) -> int:
    """How many passes of so many images run side by side here: one for each of torch's threads, as a rule."""
    return max(1, min(MOST_IMAGES // size, torch.get_num_threads()))


class Lanes:
    """Threads that run passes, `lanes_here(size)` of them, started when they are first needed.

    Torch's threads are shared out among them evenly.

    Args:
        size: Images a pass.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._started = 0
        self._pool: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    @property
    def n(self) -> int:
        """How many there are, or would be now."""
        return self._started or lanes_here(self._size)

    def map(self, work: Callable[[A], B], items: Sequence[A]) -> Iterable[B]:
        """The results in order; in the calling thread where torch has one thread, or there is one lane."""
        if lanes_here(self._size) < 2:
            return map(work, items)
        with self._starting:
            if self._pool is None:
                self._pool, self._started = self._begun()
        return self._pool.map(work, items)

    def _begun(self) -> tuple[ThreadPoolExecutor, int]:
        n = lanes_here(self._size)
        pool = ThreadPoolExecutor(n, thread_name_prefix="locatlas-lane")
        try:
            give_torch_threads(pool, n, torch.get_num_threads() // n)
        except BaseException:  # raised again
            pool.shutdown(wait=False)
            raise
        return pool, n


def in_one_thread(work: Callable[[], B]) -> B:
    """The result of some work in a thread of its own, with one of torch's: copies gain nothing from more.

    Raises:
        RuntimeError: If a thread cannot be started.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="locatlas-load") as pool:
        give_torch_threads(pool, 1, 1)
        return pool.submit(work).result()


def give_torch_threads(pool: ThreadPoolExecutor, n: int, each: int) -> None:
    """Let the pool's n threads, and no others, call torch with so many threads each.

    Torch keeps a number for each thread that has called it and one for those to come, and setting the first sets the
    second, which is put back as soon as all threads of the pool have taken theirs.

    Args:
        pool: Of `n` threads, none of which has anything to do.
        n: >= 1.
        each: >= 1.

    Raises:
        RuntimeError: If a thread cannot be started. Torch is left as it was, and the pool can be shut down.
    """
    before = torch.get_num_threads()
    all_have = threading.Barrier(n)

    def take(_: int) -> None:
        if all_have.broken:
            return
        torch.set_num_threads(each)
        torch.get_num_threads()  # a thread's first question would otherwise take the number for those to come
        all_have.wait()

    with _lock:
        try:
            for _ in pool.map(take, range(n)):
                pass
        except BaseException:  # raised again
            all_have.abort()  # those that wait for the others would do so for ever, and the pool's end for them
            raise
        finally:
            torch.set_num_threads(before)
