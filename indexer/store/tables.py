"""The tables of an atlas, a LanceDB database: open, checked upserts, deletions, merging of fragments. I/O.

Writes are Lance's merge_insert with a declared primary key; reads stand in `table_reads`. Two facts of Lance decide
the write path: without a declared key, concurrent merge_insert duplicates rows, and with a scalar index on the key it
does so again unless the index is not used. All of it goes through pylance: lancedb opens the same tables, and takes two
seconds of a core to import.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import LocatlasError, SchemaMismatchError, StoreDamagedError
from locatlas.indexer.store.digests import Digests
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.row_checks import check_rows
from locatlas.indexer.store.schema import SCHEMA_VERSION, embedding_schema, embedding_table_name
from locatlas.indexer.store.storing import as_stored
from locatlas.indexer.store.table_reads import TableReads, first_line
from locatlas.indexer.store.tidy_limits import COMPACTED_ROWS, FRAGMENTS_BEFORE_COMPACTION
from locatlas.indexer.store.upgrade import upgrade
from locatlas.interrupts import unbroken
from locatlas.models.spec import Storage

__all__ = ["Store"]

CACHE_BYTES = 16 << 20
"""Of each of Lance's two caches while one store writes."""

_KEY = b"lance-schema:unenforced-primary-key:position"
"""What says of a field that it is the key, as `set_unenforced_primary_key` of lancedb writes it."""


class Store(TableReads):
    """The tables of one atlas. Readers need no lock; writers hold `folder.writer()`.

    An atlas of an older schema version is upgraded first, which writes (see `locatlas.indexer.store.upgrade`), unless
    it is to be read as it is.
    """

    def __init__(self, folder: AtlasFolder, *, as_is: bool = False) -> None:
        if not as_is:
            upgrade(folder)
        super().__init__(folder)
        self.digests = Digests(folder)
        self._caches: Any = None

    @classmethod
    def create(cls, path: Path) -> "Store":
        """The store at `path`, made if the folder is absent or empty."""
        return cls(AtlasFolder.create(path, {"schema_version": SCHEMA_VERSION}))

    @classmethod
    def open(cls, path: Path) -> "Store":
        """The store at `path`, which must be an atlas."""
        return cls(AtlasFolder.open(path))

    def _writable(self, table: str, schema: pa.Schema) -> Any:
        import lance

        if self._caches is None:
            # left alone, the caches may grow to gigabytes: 0.2 MB a commit, for what the next commits hardly ask again
            self._caches = lance.Session(index_cache_size_bytes=CACHE_BYTES, metadata_cache_size_bytes=CACHE_BYTES)
        path = str(self._path(table))
        if not self.has(table):
            at = schema.get_field_index("id")
            keyed = schema.set(at, schema.field(at).with_metadata({_KEY: b"1"}))
            lance.write_dataset(keyed.empty_table(), path, schema=keyed, session=self._caches)
        opened = lance.dataset(path, session=self._caches)
        if opened.schema != schema:
            message = f"table {table} on disk has other columns than this locatlas writes; nothing was written"
            raise SchemaMismatchError(message)
        if _KEY not in (opened.schema.field("id").metadata or {}):
            # earlier versions declared it after they had made the table, and a kill may have come between
            opened.update_field_metadata({"id": {_KEY.decode(): "1"}})
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
                merge = opened.merge_insert("id").use_index(False)  # noqa: FBT003 (Lance's signature)
                merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def take_late_digests(self, *, anew: bool = False) -> int:
        """Take the digests of files that a writer left who died before; how many. The writer lock is held.

        Args:
            anew: As in `Digests.take`.
        """
        tables = [path.stem for path in self.folder.db.glob("*.lance")]
        try:
            return self.digests.take(tables, late=True, anew=anew)
        except OSError as error:
            message = f"{self.folder.journal_path}: digests cannot be taken ({first_line(error)})"
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
            message = f"{self._path(table)}: cannot be written ({first_line(error)}); what was committed before stays"
            raise StoreDamagedError(message) from error

    def put_embeddings(
        self,
        level: str,
        fingerprint: str,
        ids: Sequence[str],
        digests: Sequence[str],
        vectors: NDArray[np.float32],
        storage: Storage = "float32",
    ) -> None:
        """Write vectors of one encoder.

        Args:
            level: "fov" or "cell".
            fingerprint: Of the encoder.
            ids: (n,) image ids.
            digests: (n,) digests of the sources they were made from.
            vectors: (n, d) float32, finite.
            storage: Numbers of the table, as the encoder's spec says.

        Raises:
            InputError: If a vector does not fit float16 (`storing.as_stored`).
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
        schema = embedding_schema(vectors.shape[1], storage)
        if self.has(table) and (here := self._vector_type(table)) != schema.field("vector").type:
            kind = "" if here.value_type == schema.field("vector").type.value_type else f" as {here.value_type}"
            got = f"{vectors.shape[1]}{kind and f' as {storage}'}"
            message = f"table {table} holds vectors of {here.list_size} numbers{kind}, got {got}; nothing was written"
            raise SchemaMismatchError(message)
        flat = pa.array(np.ascontiguousarray(as_stored(vectors, storage, ids, table)).reshape(-1))
        columns = [pa.array(ids, pa.string()), pa.array(digests, pa.string())]
        column = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type)
        rows = pa.table([*columns, column], schema=schema)
        self.upsert(table, rows, schema=schema)

    def delete(self, table: str, ids: Sequence[str]) -> None:
        """Delete rows by id."""
        if not ids or not self.has(table):
            return
        with self._writing(table):
            opened = self._writable(table, self._schema(table))
            for start in range(0, len(ids), 1000):
                opened.delete(pc.field("id").isin(list(ids[start : start + 1000])))

    def compact(self, table: str) -> None:
        """Merge small fragments once there are many; old versions stay, so readers are not disturbed."""
        if not self.has(table):
            return
        small = [f for f in self._dataset(table).get_fragments() if f.metadata.num_rows < COMPACTED_ROWS]
        if len(small) > FRAGMENTS_BEFORE_COMPACTION:
            with self._writing(table):
                self._dataset(table).optimize.compact_files(target_rows_per_fragment=COMPACTED_ROWS)
