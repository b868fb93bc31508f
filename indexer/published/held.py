"""The working copies that this process writes, by address: whoever opens the address meanwhile gets the copy. State."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["held", "holding"]

_HELD: dict[str, Path] = {}


def held(uri: str) -> Path | None:
    """The working copy of an address, while this process writes there; None otherwise."""
    return _HELD.get(uri)


@contextmanager
def holding(uri: str, copy: Path) -> Iterator[None]:
    """Say for the length of a block that an address is written through a copy."""
    _HELD[uri] = copy
    try:
        yield
    finally:
        del _HELD[uri]
