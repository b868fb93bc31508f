"""Whether vectors that are imported are in the atlas already. Reads the store."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.store.aligned import one_array, rows_in
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store

__all__ = ["digests_of", "same_under_another_name"]

_PROBED = 8
"""Ids that are compared before whole tables are."""


def digests_of(ids: pa.Array, stored: pa.Table) -> pa.Array:
    """Digest of the vector that is stored of each id, text (n,); null where there is none.

    Args:
        ids: Of images.
        stored: Columns id and source_digest of an embedding table.
    """
    at = rows_in(ids, stored["id"])
    return one_array(stored["source_digest"]).take(pa.array(at, mask=at < 0))


def same_under_another_name(
    store: Store, encoder: StoredEncoder, others: Iterable[StoredEncoder]
) -> StoredEncoder | None:
    """The imported encoder by which the same images have the same vectors, bit for bit before any rounding; or None.

    Args:
        store: The atlas.
        encoder: That was imported.
        others: Encoders of its level.
    """
    columns = ["id", "source_digest"]
    same_length = [e for e in others if e.is_imported and e.spec.dim == encoder.spec.dim and store.has(e.table)]
    own = store.read(encoder.table, columns) if same_length else None
    for other in same_length:
        assert own is not None
        first = own.slice(0, _PROBED)
        for some, held in ((first, store.read_rows(other.table, first["id"].to_pylist(), columns)), (own, None)):
            there = digests_of(one_array(some["id"]), store.read(other.table, columns) if held is None else held)
            if not pc.all(pc.fill_null(pc.equal(there, one_array(some["source_digest"])), fill_value=False)).as_py():
                break
        else:
            return other
    return None
