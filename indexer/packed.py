"""Long lists in little memory: a record with its row is 3.6 kB as Python's objects, and some 60 bytes packed. Pure."""

import pickle
import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["Packed"]

T = TypeVar("T")

BLOCK = 256
"""Items that are packed together: what is alike in them is kept once."""


class Packed(Collection[T], Generic[T]):
    """Items in the order in which they were added, packed in memory block by block; each look makes them anew.

    Args:
        items: The first items.
    """

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._blocks: list[bytes] = []
        self._open: list[T] = []
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add one at the end."""
        self._open.append(item)
        if len(self._open) == BLOCK:
            self._blocks.append(zlib.compress(pickle.dumps(self._open, pickle.HIGHEST_PROTOCOL), 1))
            self._open = []

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK + len(self._open)

    def __iter__(self) -> Iterator[T]:
        for block in self._blocks:
            yield from pickle.loads(zlib.decompress(block))  # noqa: S301 (made above, never stored)
        yield from self._open

    def __contains__(self, item: object) -> bool:
        return any(one == item for one in self)
