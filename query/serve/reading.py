"""An atlas held open for many requests: each sees the newest version, and what is costly is kept per version. I/O."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from locatlas.errors import StoreDamagedError
from locatlas.indexer.lance_files import manifest_version
from locatlas.indexer.layout import AtlasFolder
from locatlas.indexer.store import FIXED, Store
from locatlas.query.atlas import Atlas

__all__ = ["Desk", "HeldStore", "Stamp"]

Stamp = tuple[tuple[str, int], ...]
"""State of an atlas: version by table. Every commit changes it."""

_SMALL = frozenset({"encoders", "segmenters", "trainings"})
"""Tables of a few rows that every question reads."""


class HeldStore(Store):
    """A store that knows versions by the names of manifests, and keeps small tables until these change.

    A look-up asks for four versions and reads the table of encoders twice, which takes Lance longer than the search
    among some thousand vectors.
    """

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._small: dict[Hashable, tuple[int, pa.Table]] = {}

    def version(self, table: str) -> int:
        """As `Store.version`: the newest manifest is the newest commit."""
        names = (path.name for path in (self.folder.db / f"{table}.lance" / "_versions").glob("*.manifest"))
        known = [version for name in names if (version := manifest_version(name)) is not None]
        return max(known) if known else super().version(table)

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """As `Store.read`."""
        if table not in _SMALL or not self.has(table):
            return super().read(table, columns)
        key, version = (table, None if columns is None else tuple(columns)), self.version(table)
        kept = self._small.get(key)
        if kept is None or kept[0] != version:
            # a commit that comes in between is read under the version before it, and read again the next time
            kept = self._small[key] = (version, super().read(table, columns))
        return kept[1]

    def stamp(self) -> Stamp:
        """Version by table, those of vectors included."""
        return tuple((table, self.version(table)) for table in self.tables())


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
        stamp = tuple((t, self.store.version(t)) for t in tables if self.store.has(t)) if tables else self.store.stamp()
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


assert set(FIXED) >= _SMALL
