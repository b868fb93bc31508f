"""Reads of the tables of one atlas through pylance: by column, by id, all vectors. Reads only."""

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import StoreDamagedError, UnknownNameError
from locatlas.indexer.store.aligned import is_ascending, one_array
from locatlas.indexer.store.lance_files import table_state
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.row_cache import KEPT_TABLES, keep_rows, kept_rows
from locatlas.indexer.store.schema import (
    ANNOTATIONS,
    BENCHMARKS,
    CELLS,
    ENCODERS,
    FOVS,
    MAPS,
    QUARANTINE,
    RUNS,
    SEGMENTERS,
    TRAININGS,
)
from locatlas.interrupts import check_stop

__all__ = ["FIXED", "IN_TURN", "TableReads", "TableVectors", "first_line"]

# the Rust side logs "No existing dataset" whenever a table is made
os.environ.setdefault("LANCE_LOG", "error")

FIXED = {
    "fovs": FOVS,
    "cells": CELLS,
    "encoders": ENCODERS,
    "segmenters": SEGMENTERS,
    "annotations": ANNOTATIONS,
    "trainings": TRAININGS,
    "benchmarks": BENCHMARKS,
    "maps": MAPS,
    "runs": RUNS,
    "quarantine": QUARANTINE,
}

_SMALL = frozenset({"encoders", "segmenters", "trainings"})
"""Tables of a few rows that every question reads."""
assert set(FIXED) >= _SMALL >= KEPT_TABLES

IN_TURN: Mapping[str, int] = {
    "batch_size": 8192,
    "batch_readahead": 2,
    "fragment_readahead": 1,
    "io_buffer_size": 32 << 20,
}
"""How vectors are read one after another; left alone, Lance reads far ahead and holds some hundred megabytes more."""


@dataclass(frozen=True, eq=False)
class TableVectors:
    """All vectors of an embedding table, sorted by id.

    Attributes:
        table: Table name.
        version: Lance version that was read.
        names: Ids (n,), text, ascending by code point.
        sources: Digest of the source that each vector was made from (n,), text.
        vectors: (n, d) float32, row i belongs to names[i].
    """

    table: str
    version: int
    names: pa.Array
    sources: pa.Array
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def ids(self) -> list[str]:
        """`names` as Python strings."""
        return list(self.names.to_pylist())

    @cached_property
    def digests(self) -> list[str]:
        """`sources` as Python strings."""
        return list(self.sources.to_pylist())

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "TableVectors":
        """Some of the rows, in the order given."""
        some = np.asarray(rows, dtype=np.int64)
        names, sources = self.names.take(pa.array(some)), self.sources.take(pa.array(some))
        return TableVectors(self.table, self.version, names, sources, self.vectors[some])


class TableReads:
    """Reads of an atlas' tables; no lock is needed.

    Attributes:
        folder: The atlas.
    """

    def __init__(self, folder: AtlasFolder) -> None:
        self.folder = folder
        self._small: dict[Hashable, tuple[Hashable, pa.Table]] = {}

    def tables(self) -> list[str]:
        """Names of the tables that exist, sorted."""
        return sorted(p.stem for p in self.folder.db.glob("*.lance") if self.has(p.stem))

    def _schema(self, table: str) -> pa.Schema:
        if table in FIXED:
            return FIXED[table]
        return self._dataset(table).schema.remove_metadata()

    def _vector_type(self, table: str) -> Any:
        """Fixed-size list of the numbers of an embedding table."""
        return self._dataset(table).schema.field("vector").type

    def _path(self, table: str) -> Path:
        return self.folder.db / f"{table}.lance"

    def _dataset(self, table: str) -> Any:
        if not self.has(table):
            raise UnknownNameError("table", table, self.tables())
        import lance  # which takes longer than a question that is answered from `cache/`

        try:
            return lance.dataset(str(self._path(table)))
        except (OSError, ValueError) as error:
            check_stop()  # a signal that comes within Lance is one of its errors
            message = f"{self._path(table)}: cannot be opened ({first_line(error)})"
            raise StoreDamagedError(message) from error

    def has(self, table: str) -> bool:
        """Whether the table exists: a folder without a version was left by a process that died while making it.

        Raises:
            StoreDamagedError: If there are data but no version that says what they are.
        """
        path = self._path(table)
        if any(path.glob("_versions/*.manifest")):
            return True
        if any(path.glob("data/*.lance")):
            message = f"{path}: has data but no manifest; restore _versions/ from a backup"
            raise StoreDamagedError(message)
        return False

    def version(self, table: str) -> int:
        """Lance version of the table, which every commit raises: that of its newest manifest.

        Raises:
            UnknownNameError: If there is no such table.
        """
        if (state := table_state(self.folder, table)) is None:
            raise UnknownNameError("table", table, self.tables())
        return state[0]

    def count(self, table: str) -> int:
        """Rows by the table's manifest. Not a proof of health: Lance answers even if the data file is gone."""
        return int(self._dataset(table).count_rows()) if self.has(table) else 0

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, or those columns; an absent fixed table reads as empty. Sorted by id when id is among them."""
        if not self.has(table) and table in FIXED:
            schema = FIXED[table]
            rows = schema.empty_table()
            return rows if columns is None else rows.select(list(columns))
        return self._small_rows(table, columns) if table in _SMALL else self._rows(table, columns)

    def _small_rows(self, table: str, columns: Sequence[str] | None) -> pa.Table:
        """As `read`, of a table that is read often and is kept until it changes."""
        key, state = (table, None if columns is None else tuple(columns)), table_state(self.folder, table)
        kept = self._small.get(key)
        if kept is not None and kept[0] == state:
            return kept[1]
        rows = None
        if state is not None and table in KEPT_TABLES and columns is None:
            rows = kept_rows(self.folder, table, state[0])
        # a commit that comes in between is read under the version before it, and read again the next time
        rows = self._rows(table, columns) if rows is None else rows
        self._small[key] = (state, rows)
        return rows

    def keep_small(self) -> None:
        """Keep in files, too, what every question reads of small tables, if the atlas has a cache."""
        for table in KEPT_TABLES:
            if self.has(table) and kept_rows(self.folder, table, self.version(table)) is None:
                self._rows(table, None)  # which are kept

    def _rows(self, table: str, columns: Sequence[str] | None) -> pa.Table:
        dataset = self._dataset(table)
        rows = self._to_table(table, dataset, columns, None)
        if "id" in rows.column_names and not is_ascending(rows["id"]):
            rows = rows.sort_by("id")
        if table in KEPT_TABLES and columns is None:
            keep_rows(self.folder, table, int(dataset.version), rows)
        return rows

    def _to_table(self, table: str, dataset: Any, columns: Sequence[str] | None, only: Any) -> pa.Table:
        try:
            return dataset.to_table(columns=list(columns) if columns is not None else None, filter=only)
        except (OSError, ValueError) as error:
            raise self._unreadable(table, dataset, error) from error

    def _unreadable(self, table: str, dataset: Any, error: BaseException) -> StoreDamagedError:
        """Why rows cannot be read: the version that was begun may be gone since.

        Raises:
            StopRequested: If the program was asked to stop: a signal that comes within Lance is one of its errors.
        """
        check_stop()
        try:
            gone = dataset.version not in {one["version"] for one in self._dataset(table).versions()}
        except (OSError, ValueError):
            gone = False  # it is damaged as well, and the first error tells
        if gone:
            message = (
                f"{self._path(table)}: version {dataset.version}, which was being read, was superseded long ago and is "
                "removed; read again"
            )
            return StoreDamagedError(message)
        return StoreDamagedError(f"{self._path(table)}: cannot be read ({first_line(error)})")

    def read_rows(
        self, table: str, ids: Sequence[str], columns: Sequence[str] | None = None, *, key: str = "id"
    ) -> pa.Table:
        """The rows whose `key` is one of these ids, sorted by id; absent ones are simply not in the answer."""
        return self._to_table(table, self._dataset(table), columns, pc.field(key).isin(list(ids))).sort_by("id")

    def read_vectors(
        self, table: str, place_for: Callable[[int, int], NDArray[np.float32]] | None = None
    ) -> TableVectors:
        """All vectors of an embedding table, sorted by id, in one array of float32, whatever the table holds.

        Args:
            table: Its name.
            place_for: Makes the array that they are written to, of so many rows and numbers a row; None for one in
                memory.

        Raises:
            StoreDamagedError: If they cannot be read, or are fewer than the table's manifest says.
        """
        dataset = self._dataset(table)
        dim = int(self._vector_type(table).list_size)
        n = dataset.count_rows()
        vectors = np.empty((n, dim), dtype=np.float32) if place_for is None else place_for(n, dim)
        digests: list[pa.Array] = []
        done = 0
        try:
            names = dataset.to_table(columns=["id"])["id"].combine_chunks()
            if len(names) != n:
                message = f"{self._path(table)}: its manifest says {n} rows, {len(names)} can be read"
                raise StoreDamagedError(message)
            # UTF-8 bytes have the order of code points; each vector is written once, to where it belongs
            order = pc.sort_indices(names).to_numpy()
            place = np.empty(len(names), dtype=np.int64)
            place[order] = np.arange(len(names))
            for batch in dataset.to_batches(columns=["id", "source_digest", "vector"], **IN_TURN):
                upto = done + batch.num_rows
                if not names[done:upto].equals(batch.column("id")):
                    message = f"{self._path(table)}: two reads of version {dataset.version} differ"
                    raise StoreDamagedError(message)
                flat = batch.column("vector").flatten().to_numpy(zero_copy_only=True)
                vectors[place[done:upto]] = flat.reshape(-1, dim)
                # a copy: an array of a batch that Lance gave keeps all of its columns, vectors too
                digests.append(batch.column("source_digest").take(pa.array(np.arange(batch.num_rows))))
                done = upto
        except (OSError, ValueError) as error:
            raise self._unreadable(table, dataset, error) from error
        if done != n:
            message = f"{self._path(table)}: its manifest says {n} rows, {done} can be read"
            raise StoreDamagedError(message)
        sources = one_array(pa.chunked_array(digests, pa.string()).take(pa.array(order)))
        return TableVectors(table, int(dataset.version), names.take(order), sources, vectors)


def first_line(error: BaseException) -> str:
    """What an error says first: those of Lance have many lines."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
