"""Batches made ahead of time in threads, in order."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["pinned", "prefetched", "to_device"]

T = TypeVar("T")


def prefetched(make: Callable[[int], T], numbers: range, *, workers: int) -> Generator[T, None, None]:
    """`make(i)` for each number, in order, while later ones are made in threads.

    Args:
        make: Called in threads, once for each number.
        numbers: What to make.
        workers: Threads; one more than these are made ahead.

    Raises:
        Exception: Whatever `make` raises, as soon as it is known: not only when its turn comes. The rest is not made,
            and what is being made is waited for.
    """
    pending: deque[Future[T]] = deque()
    threads = torch.get_num_threads()
    # as torch's DataLoader: many threads that each split small tensors into many more only wait for each other
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batch", initializer=torch.set_num_threads, initargs=(1,))
    try:
        for number in numbers:
            pending.append(pool.submit(make, number))
            if len(pending) > workers:
                yield _first(pending)
        while pending:
            yield _first(pending)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # what threads begun later start with


def _first(pending: deque[Future[T]]) -> T:
    """The oldest, waited for; an error of any of them is raised at once."""
    while True:
        for future in pending:
            if future.done() and (error := future.exception()) is not None:
                raise error
        if pending[0].done():
            return pending.popleft().result()
        wait([future for future in pending if not future.done()], return_when=FIRST_COMPLETED)


def to_device(batch: Any, device: torch.device) -> Any:
    """The same tuples, lists and mappings with their tensors on a device; what is no tensor stays as it is."""
    return _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def pinned(batch: Any) -> Any:
    """The same in memory from where a GPU fetches it without being waited for."""
    return _each(batch, Tensor.pin_memory)


def _each(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, dict):
        return {name: _each(one, change) for name, one in batch.items()}
    if isinstance(batch, tuple | list):
        inner = [_each(one, change) for one in batch]
        if isinstance(batch, list):
            return inner
        return type(batch)(*inner) if hasattr(batch, "_fields") else tuple(inner)
    return batch
