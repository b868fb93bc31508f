"""The tables of an atlas in LanceDB: open, checked upserts, reads by column and id. I/O.

Writes go through lancedb's merge_insert with a declared primary key; reads go through pylance, which opens the same
files and starts faster. Two facts of lancedb 0.40 decide the write path: without a declared key, concurrent
merge_insert duplicates rows, and with a scalar index on the key it does so again unless the index is not used.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

# the Rust side logs "No existing dataset" whenever a table is made
os.environ.setdefault("LANCE_LOG", "error")

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import LocatlasError, SchemaMismatchError, StoreDamagedError, UnknownNameError
from locatlas.indexer.digests import Digests
from locatlas.indexer.layout import AtlasFolder
from locatlas.indexer.schema import (
    ANNOTATIONS,
    BENCHMARKS,
    CELLS,
    ENCODERS,
    FOVS,
    MAPS,
    QUARANTINE,
    RUNS,
    SCHEMA_VERSION,
    SEGMENTERS,
    TRAININGS,
    check_rows,
    embedding_schema,
    embedding_table_name,
)
from locatlas.indexer.tidy_limits import COMPACTED_ROWS, FRAGMENTS_BEFORE_COMPACTION
from locatlas.indexer.upgrade import upgrade
from locatlas.interrupts import check_stop, unbroken

__all__ = ["FIXED", "Store", "TableVectors"]

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


@dataclass(frozen=True, slots=True, eq=False)
class TableVectors:
    """All vectors of an embedding table, sorted by id.

    Attributes:
        table: Table name.
        version: Lance version that was read.
        ids: (n,) ids as Python strings, ascending by code point.
        digests: (n,) digest of the source that each vector was made from.
        vectors: (n, d) float32, row i belongs to ids[i].
    """

    table: str
    version: int
    ids: list[str]
    digests: list[str]
    vectors: NDArray[np.float32]

    def take(self, rows: Sequence[int]) -> "TableVectors":
        """Some of the rows, in the order given."""
        ids, digests = [self.ids[i] for i in rows], [self.digests[i] for i in rows]
        return TableVectors(self.table, self.version, ids, digests, self.vectors[list(rows)])


class Store:
    """The tables of one atlas. Readers need no lock; writers hold `folder.writer()`.

    An atlas of an older schema version is upgraded first, which writes (see `locatlas.indexer.upgrade`), unless it is
    to be read as it is.
    """

    def __init__(self, folder: AtlasFolder, *, as_is: bool = False) -> None:
        if not as_is:
            upgrade(folder)
        self.folder = folder
        self.digests = Digests(folder)
        self._db: Any = None

    @classmethod
    def create(cls, path: Path) -> "Store":
        """The store at `path`, made if the folder is absent or empty."""
        return cls(AtlasFolder.create(path, {"schema_version": SCHEMA_VERSION}))

    @classmethod
    def open(cls, path: Path) -> "Store":
        """The store at `path`, which must be an atlas."""
        return cls(AtlasFolder.open(path))

    def tables(self) -> list[str]:
        """Names of the tables that exist, sorted."""
        return sorted(p.stem for p in self.folder.db.glob("*.lance") if self.has(p.stem))

    def _schema(self, table: str) -> pa.Schema:
        if table in FIXED:
            return FIXED[table]
        return self._dataset(table).schema.remove_metadata()

    def _dim(self, table: str) -> int:
        return int(self._dataset(table).schema.field("vector").type.list_size)

    def _path(self, table: str) -> Path:
        return self.folder.db / f"{table}.lance"

    def _dataset(self, table: str) -> Any:
        if not self.has(table):
            raise UnknownNameError("table", table, self.tables())
        try:
            return lance.dataset(str(self._path(table)))
        except (OSError, ValueError) as error:
            check_stop()  # a signal that comes within Lance is one of its errors
            message = f"{self._path(table)}: cannot be opened ({_first_line(error)})"
            raise StoreDamagedError(message) from error

    def _writable(self, table: str, schema: pa.Schema) -> Any:
        if self._db is None:
            import lancedb

            self._db = lancedb.connect(str(self.folder.db))
        opened = self._db.open_table(table) if self.has(table) else self._db.create_table(table, schema=schema)
        if opened.schema != schema:
            message = f"table {table} on disk has other columns than this locatlas writes; nothing was written"
            raise SchemaMismatchError(message)
        if b"lance-schema:unenforced-primary-key:position" not in (opened.schema.field("id").metadata or {}):
            # also after a kill between the two calls, when the table exists without its key
            opened.set_unenforced_primary_key(["id"])
        return opened

    def upsert(self, table: str, rows: pa.Table, *, schema: pa.Schema | None = None) -> None:
        """Insert rows, or replace those of the same id, in one commit.

        Args:
            table: Table name.
            rows: Exactly the table's columns and types.
            schema: Schema of an embedding table that may not exist yet.

        Raises:
            SchemaMismatchError: If `check_rows` refuses them.
            StoreDamagedError: If they cannot be written, e.g. because the disk is full; what was committed stays.
        """
        expected = schema or self._schema(table)
        check_rows(rows, expected, table=table)
        with self._writing(table):
            opened = self._writable(table, expected)
            if len(rows):
                merge = opened.merge_insert("id").use_index(False)  # noqa: FBT003 (lancedb's signature)
                merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def take_late_digests(self) -> int:
        """Take the digests of files that a writer left who died before; how many. The writer lock is held."""
        tables = [path.stem for path in self.folder.db.glob("*.lance")]
        try:
            return self.digests.take(tables, late=True)
        except OSError as error:
            message = f"{self.folder.journal_path}: digests cannot be taken ({_first_line(error)})"
            raise StoreDamagedError(message) from error

    @contextmanager
    def _writing(self, table: str) -> Iterator[None]:
        """Commit in the block, and take the digests of what is new; a signal waits for the end of both.

        Lance's errors, which are of many types and many lines, are told as one.
        """
        try:
            with unbroken():
                yield
                self.digests.take([table])
        except LocatlasError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            message = f"{self._path(table)}: cannot be written ({_first_line(error)}); what was committed before stays"
            raise StoreDamagedError(message) from error

    def put_embeddings(
        self, level: str, fingerprint: str, ids: Sequence[str], digests: Sequence[str], vectors: NDArray[np.float32]
    ) -> None:
        """Write vectors of one encoder.

        Args:
            level: "fov" or "cell".
            fingerprint: Of the encoder.
            ids: (n,) image ids.
            digests: (n,) digests of the sources they were made from.
            vectors: (n, d) float32, finite.

        Raises:
            SchemaMismatchError: If they do not fit each other or the table, or `check_rows` refuses them.
            StoreDamagedError: If they cannot be written.
        """
        table = embedding_table_name(level, fingerprint)
        if vectors.dtype != np.float32 or vectors.ndim != 2 or not len(ids) == len(digests) == len(vectors):
            message = (
                f"table {table}: {len(ids)} ids, {len(digests)} digests and {vectors.dtype} vectors of shape "
                f"{vectors.shape}; as many of each and float32 (n, d) needed; nothing was written"
            )
            raise SchemaMismatchError(message)
        schema = embedding_schema(vectors.shape[1])
        flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        columns = [pa.array(ids, pa.string()), pa.array(digests, pa.string())]
        column = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type)
        rows = pa.table([*columns, column], schema=schema)
        if self.has(table) and (dim := self._dim(table)) != vectors.shape[1]:
            message = f"table {table} holds vectors of {dim} numbers, got {vectors.shape[1]}; nothing was written"
            raise SchemaMismatchError(message)
        self.upsert(table, rows, schema=schema)

    def delete(self, table: str, ids: Sequence[str]) -> None:
        """Delete rows by id."""
        if not ids or not self.has(table):
            return
        from lancedb.expr import col

        with self._writing(table):
            opened = self._writable(table, self._schema(table))
            for start in range(0, len(ids), 1000):
                opened.delete(col("id").isin(list(ids[start : start + 1000])).to_sql())

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
        """Lance version of the table; every commit raises it."""
        return int(self._dataset(table).version)

    def count(self, table: str) -> int:
        """Rows by the table's manifest. Not a proof of health: Lance answers even if the data file is gone."""
        return int(self._dataset(table).count_rows()) if self.has(table) else 0

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, or those columns; an absent fixed table reads as empty. Sorted by id when id is among them."""
        if not self.has(table) and table in FIXED:
            schema = FIXED[table]
            rows = schema.empty_table()
            return rows if columns is None else rows.select(list(columns))
        rows = self._to_table(table, columns, None)
        return rows.sort_by("id") if "id" in rows.column_names else rows

    def _to_table(self, table: str, columns: Sequence[str] | None, only: Any) -> pa.Table:
        dataset = self._dataset(table)
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
        return StoreDamagedError(f"{self._path(table)}: cannot be read ({_first_line(error)})")

    def read_rows(
        self, table: str, ids: Sequence[str], columns: Sequence[str] | None = None, *, key: str = "id"
    ) -> pa.Table:
        """The rows whose `key` is one of these ids, sorted by id; absent ones are simply not in the answer."""
        import pyarrow.compute as pc

        return self._to_table(table, columns, pc.field(key).isin(list(ids))).sort_by("id")

    def read_vectors(self, table: str) -> TableVectors:
        """All vectors of an embedding table, sorted by id, in one array."""
        dataset = self._dataset(table)
        dim = self._dim(table)
        n = dataset.count_rows()
        vectors = np.empty((n, dim), dtype=np.float32)
        ids: list[str] = []
        digests: list[str] = []
        try:
            for batch in dataset.to_batches(columns=["id", "source_digest", "vector"], batch_size=8192):
                flat = batch.column("vector").flatten().to_numpy(zero_copy_only=True)
                vectors[len(ids) : len(ids) + batch.num_rows] = flat.reshape(-1, dim)
                ids.extend(batch.column("id").to_pylist())
                digests.extend(batch.column("source_digest").to_pylist())
        except (OSError, ValueError) as error:
            raise self._unreadable(table, dataset, error) from error
        held = TableVectors(table, int(dataset.version), ids, digests, vectors)
        if all(a <= b for a, b in pairwise(ids)):
            return held  # without a second copy of the vectors
        return held.take(sorted(range(len(ids)), key=ids.__getitem__))

    def compact(self, table: str) -> None:
        """Merge small fragments once there are many; old versions stay, so readers are not disturbed."""
        if not self.has(table):
            return
        small = [f for f in self._dataset(table).get_fragments() if f.metadata.num_rows < COMPACTED_ROWS]
        if len(small) > FRAGMENTS_BEFORE_COMPACTION:
            with self._writing(table):
                # through pylance: lancedb's own compact_files is the same call
                self._dataset(table).optimize.compact_files(target_rows_per_fragment=COMPACTED_ROWS)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
