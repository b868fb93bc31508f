"""What an atlas has loaded, vectors with metadata and index, kept until one of them changes. Reads the store."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locatlas.errors import InputError
from locatlas.indexer.files.planes import plural
from locatlas.indexer.indices.candidates import TableIndex
from locatlas.indexer.indices.opening import IndexCheck, index_state, open_index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.aligned import rows_in
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.lance_files import table_state
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.table_reads import TableVectors
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.vector_cache import MappedVectors, mapped_vectors
from locatlas.query.asking.labelled import LabelledViews
from locatlas.query.asking.outdated import digests_now
from locatlas.query.asking.view import NOT_READ, View
from locatlas.query.asking.view_cache import keep_view, kept_view, made_of

__all__ = ["KEPT_OTHERS", "Loaded", "Shelf"]

KEPT_OTHERS = 4
"""Levels by encoders that are not current, beside the one that is asked: a comparison takes two of each level."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """One level by one encoder.

    Attributes:
        encoder: As the atlas knows it.
        view: Its vectors with the images' metadata.
        index: FAISS index that was checked against these vectors, or None.
        index_state: Why there is none, or how far behind it is.
        n_stale: Vectors left out, because they were made from other pixels than those there now.
        n_lone: Vectors left out, because their images have no row (a repair took it out, or they were just pruned).
        labelled: The view as it was loaded, with the labels that questions name; kept as long as it is.
    """

    encoder: StoredEncoder
    view: View
    index: TableIndex | None
    index_state: str
    n_stale: int
    n_lone: int
    labelled: LabelledViews

    def notes(self) -> list[str]:
        """What an answer must say of the vectors it was made from."""
        notes = []
        if self.n_stale:
            notes.append(
                f"{self.n_stale} images changed since {self.encoder.spec.name} embedded them and are left out; "
                "index or embed again"
            )
        if self.n_lone:
            notes.append(
                f"left out: {plural(self.n_lone, 'vector')} by {self.encoder.spec.name} without an image in the atlas; "
                "`locatlas verify` says what to do"
            )
        return notes


class Shelf:
    """Loads what queries look at, for any number of threads. Reading again costs two looks at table versions.

    Attributes:
        store: The atlas' tables.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._kept: OrderedDict[tuple[str, str], tuple[tuple[Hashable, ...], Loaded]] = OrderedDict()
        # several threads that find a table changed must not read it several times over
        self._lock = threading.Lock()

    def levels(self, encoder: str | None = None) -> list[str]:
        """Image levels that have vectors, FOVs before cells; of one encoder if it is named.

        Raises:
            InputError: If the atlas has no vectors at all.
        """
        known = encoders.stored_encoders(self.store)
        if not known:
            message = f"{self.store.folder.path}: no vectors yet; `locatlas index` makes some"
            raise InputError(message)
        fits = [e for e in known if encoder is None or e.is_called(encoder)] or known
        return sorted({e.level for e in fits}, reverse=True)

    def load(self, level: str, encoder: str | None) -> Loaded:
        """Vectors, metadata and index of a level.

        Args:
            level: "fov" or "cell".
            encoder: Name or fingerprint, None for the current one.

        Raises:
            UnknownNameError: If the atlas has no such encoder at the level.
            InputError: If it has none that is complete, or no vectors by it.
        """
        stored = encoders.find(self.store, level, encoder)
        table = image_table(level)
        if not self.store.has(stored.table):
            message = (
                f"{self.store.folder.path}: encoder {stored.spec.name} has no vectors at level {level}, none yet or "
                f"none any more; `locatlas reembed --encoder {stored.fingerprint[:12]}` makes them and makes it current"
            )
            raise InputError(message)
        tables = (stored.table, table, *self._fields_too(level))
        states = (*(table_state(self.store.folder, t) for t in tables), index_state(self.store, stored.table))
        key = (level, stored.fingerprint)
        with self._lock:
            if key not in self._kept or self._kept[key][0] != states:
                self._kept[key] = (states, self._loaded(level, stored, table))
                self._forget(key)
            self._kept.move_to_end(key)
            return self._kept[key][1]

    def _forget(self, loaded: tuple[str, str]) -> None:
        """Let go of what is not likely to be asked again, now that something was loaded: a server runs for months.

        That is vectors that are gone, and those of encoders that are not current but for the few that were asked last.
        """
        current = {(e.level, e.fingerprint) for e in encoders.stored_encoders(self.store) if e.state == "current"}
        gone = [key for key, (_, kept) in self._kept.items() if not self.store.has(kept.encoder.table)]
        others = [key for key in self._kept if key not in current and key != loaded and key not in gone]
        for key in [*gone, *others[: max(0, len(others) - KEPT_OTHERS)]]:
            del self._kept[key]

    def _loaded(self, level: str, stored: StoredEncoder, table: str) -> Loaded:
        """Read what `load` gives."""
        check = IndexCheck(self.store, stored)
        # vectors first: a writer commits an image's row before its vector, so every vector read has its row
        mapped = mapped_vectors(self.store, stored.table)
        held, n_stale, n_lone, tables = mapped.held, 0, 0, (table, *self._fields_too(level))
        images = made_of(self.store, tables)
        view = kept_view(self.store.folder, level, mapped, images)
        if view is None:
            view, held, n_lone = self._built(level, stored, mapped, table)
            n_stale = len(mapped.held) - len(held) - n_lone
            # of the images as they were looked at, if nobody wrote meanwhile
            if len(held) == len(mapped.held) and made_of(self.store, tables) == images:
                keep_view(self.store.folder, mapped, images, view)
                self.store.keep_small()
                view = kept_view(self.store.folder, level, mapped, images) or view
        index, state = open_index(self.store, stored, held, check)
        return Loaded(stored, view, index, state, n_stale, n_lone, LabelledViews(view))

    def _built(
        self, level: str, stored: StoredEncoder, mapped: MappedVectors, table: str
    ) -> tuple[View, TableVectors, int]:
        """The view; the vectors that it is of, those made from the pixels of now; and how many have no image at all."""
        held, norms = mapped.held, mapped.norms
        columns = [c for c in image_schema("fov" if level == "fov" else "cell").names if c not in NOT_READ]
        images = self.store.read(table, columns)
        place = rows_in(held.names, images["id"])
        usable = place >= 0
        n_lone = int(np.count_nonzero(~usable))
        if not stored.is_imported:
            now = digests_now(self.store, level, images)
            same = pc.equal(now.take(pa.array(place, mask=place < 0)), held.sources)
            usable = pc.fill_null(same, fill_value=False).to_numpy(zero_copy_only=False)
        if not usable.all():
            rows = np.flatnonzero(usable)
            held, norms = held.take(rows), norms if norms is None else norms[rows]
        return View.build(level, held.names, held.vectors, images, norms), held, n_lone

    def _fields_too(self, level: str) -> tuple[str, ...]:
        """The table of fields, where answers of the level depend on it."""
        return ("fovs",) if level == "cell" and self.store.has("fovs") else ()
