"""The atlases in object stores that this process writes, by address: who opens one meanwhile gets its copy. State."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from locatlas.indexer.published.clean import Cleaned
    from locatlas.indexer.published.upload import Sent

__all__ = ["Written", "held", "holding"]


@dataclass(slots=True, eq=False)
class Written:
    """An atlas that is being written.

    Attributes:
        path: Its folder on this machine.
        sent: What was sent to the object store, once the outermost block is left; None for an atlas in a folder.
        cleaning: Whether objects that no state needs are to be removed then.
        cleaned: What became of these, once it is left, if that was asked for.
        thread: Who writes it: blocks of this thread are parts of the outermost one.
    """

    path: Path
    sent: "Sent | None" = None
    cleaning: bool = False
    cleaned: "Cleaned | None" = None
    thread: int = field(default_factory=threading.get_ident)


_HELD: dict[str, Written] = {}


def held(uri: str) -> Written | None:
    """What is written at an address, while this process writes there; None otherwise."""
    return _HELD.get(uri)


@contextmanager
def holding(uri: str, written: Written) -> Iterator[None]:
    """Say for the length of a block that an address is written through a copy."""
    _HELD[uri] = written
    try:
        yield
    finally:
        del _HELD[uri]
