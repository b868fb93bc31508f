"""Batches made ahead of time in threads, in order."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["prefetched", "to_device"]

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
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batch")
    try:
        for number in numbers:
            pending.append(pool.submit(make, number))
            if len(pending) > workers:
                yield _first(pending)
        while pending:
            yield _first(pending)
    finally:
        pool.shutdown(cancel_futures=True)


def _first(pending: deque[Future[T]]) -> T:
    """The oldest, waited for; an error of any of them is raised at once."""
    while True:
        for future in pending:
            if future.done() and (error := future.exception()) is not None:
                raise error
        if pending[0].done():
            return pending.popleft().result()
        wait([future for future in pending if not future.done()], return_when=FIRST_COMPLETED)


def to_device(batch: Any, device: torch.device, *, pin: bool = False) -> Any:
    """The same tuples, lists and mappings with their tensors on a device; what is no tensor stays as it is.

    Args:
        batch: Nested; not changed.
        device: Where to.
        pin: Whether tensors on the CPU are pinned, from where a GPU fetches them without waiting.
    """
    if isinstance(batch, Tensor):
        moved = batch.to(device, non_blocking=True)
        return moved.pin_memory() if pin else moved
    if isinstance(batch, dict):
        return {name: to_device(one, device, pin=pin) for name, one in batch.items()}
    if isinstance(batch, tuple | list):
        inner = [to_device(one, device, pin=pin) for one in batch]
        if isinstance(batch, list):
            return inner
        return type(batch)(*inner) if hasattr(batch, "_fields") else tuple(inner)
    return batch
