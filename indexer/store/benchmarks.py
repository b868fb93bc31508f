"""The `benchmarks` table: what cells of grids were worth on this atlas, so that no cell is measured twice. I/O."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from locatlas.indexer.store.schema import BENCHMARKS
from locatlas.indexer.store.tables import Store

__all__ = ["put_results", "results"]

TABLE = "benchmarks"


def put_results(store: Store, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of results, in one commit; the writer lock is held.

    Args:
        store: The atlas.
        rows: With exactly the columns of `schema.BENCHMARKS`; those of an id that is there are replaced.

    Raises:
        SchemaMismatchError: If they do not fit.
        StoreDamagedError: If they cannot be written.
    """
    store.upsert(TABLE, pa.Table.from_pylist([dict(row) for row in rows], schema=BENCHMARKS))


def results(store: Store, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
    """The results of some ids, sorted by id; those that are not there are not in the answer."""
    if not ids or not store.has(TABLE):
        empty = BENCHMARKS.empty_table()
        return empty if columns is None else empty.select(list(columns))
    return store.read_rows(TABLE, ids, columns)
