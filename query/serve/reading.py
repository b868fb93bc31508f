"""An atlas held open for many requests: each sees the newest version, and what is costly is kept per version. I/O."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from locatlas.errors import StoreDamagedError
from locatlas.indexer.store.lance_files import table_state
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import Atlas

__all__ = ["Desk", "HeldStore", "Stamp"]

Stamp = tuple[tuple[Any, ...], ...]
"""State of an atlas: by table its version, and which manifest says so. Every commit changes it, and so does an atlas
that is put in the place of this one with as many commits."""


class HeldStore(Store):
    """A store that says in which state its tables are."""

    def stamp(self, tables: Sequence[str] = ()) -> Stamp:
        """State by table, those of vectors included; none named means all."""
        names = [table for table in tables if self.has(table)] if tables else self.tables()
        return tuple((table, *(table_state(self.folder, table) or (self.version(table),))) for table in names)


class Desk:
    """Where requests are answered from: the atlas, and answers that hold while no table changes.

    Attributes:
        atlas: Asked by any number of threads.
        store: Its tables.
        name: Of the atlas: its folder's.
    """

    def __init__(self, path: Path, *, kept_bytes: int) -> None:
        self.store = HeldStore(AtlasFolder.open(path))
        self.atlas = Atlas(self.store)
        self.name = self.store.folder.path.name
        self._roots: dict[str, str] = self.store.folder.info()["roots"]
        self._kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Stamp, Any, int]] = OrderedDict()
        self._size = 0
        self._made: dict[Hashable, threading.Lock] = {}

    def hidden(self) -> list[tuple[str, str]]:
        """Paths of this machine that messages could name, with what they are called instead."""
        # what is to be told may be that the file with the roots is damaged: those of before will do
        with suppress(StoreDamagedError, OSError):
            self._roots = self.store.folder.info()["roots"]
        return [(str(self.store.folder.path), self.name), *((path, name) for name, path in self._roots.items())]

    def once(
        self, key: Hashable, make: Callable[[], Any], *, size: Callable[[Any], int], tables: Sequence[str] = ()
    ) -> Any:
        """What `make` gives, kept until a table changes; those who ask meanwhile wait for it.

        Args:
            key: What was asked.
            make: The answer.
            size: Its bytes, about.
            tables: Those that decide the answer; none means all.
        """
        stamp = self.store.stamp(tables)
        with self._lock:
            if (kept := self._of(key, stamp)) is not None:
                return kept[0]
            making = self._made.setdefault((key, stamp), threading.Lock())
        try:
            with making:
                with self._lock:
                    if (kept := self._of(key, stamp)) is not None:
                        return kept[0]
                found = make()
                with self._lock:
                    self._keep(key, stamp, found, size(found))
                return found
        finally:
            with self._lock:
                self._made.pop((key, stamp), None)

    def _of(self, key: Hashable, stamp: Stamp) -> tuple[Any] | None:
        """What is kept of this very version."""
        if key not in self._kept or self._kept[key][0] != stamp:
            return None
        self._kept.move_to_end(key)
        return (self._kept[key][1],)

    def _keep(self, key: Hashable, stamp: Stamp, found: Any, size: int) -> None:
        """Keep it in place of that of another version; the longest unused go where there is too much."""
        if (before := self._kept.pop(key, None)) is not None:
            self._size -= before[2]
        if size > self._kept_bytes:
            return
        self._kept[key] = (stamp, found, size)
        self._size += size
        while self._size > self._kept_bytes:
            _, (_, _, freed) = self._kept.popitem(last=False)
            self._size -= freed
