"""Which images are still those that their rows and vectors speak of. Reads the store."""

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.cells.provenance import FIELD_COLUMNS, is_outdated
from locatlas.indexer.store.aligned import one_array
from locatlas.indexer.store.tables import Store

__all__ = ["OUTDATED", "digests_now"]

OUTDATED = ""
"""Stands for the digest of a cell whose field is another now: no vector was made of that."""


def digests_now(store: Store, level: str, images: pa.Table) -> pa.Array:
    """Digest of what each image's vectors must have been made from.

    A cell that was cut out of a field that has other pixels now, or other channels or another scale, has `OUTDATED`
    until the field is searched again.

    Args:
        store: The atlas.
        level: "fov" or "cell".
        images: Rows of the image table with source_digest, at level cell with fov_id and cell, too.

    Returns:
        Text, one a row of `images`.
    """
    now = one_array(images["source_digest"])
    if level != "cell":
        return now
    outdated = [row["id"] for row in store.read("fovs", ["id", *FIELD_COLUMNS]).to_pylist() if is_outdated(row)]
    if not outdated:
        return now
    cut_of_these = pc.and_(
        pc.is_in(images["fov_id"], value_set=pa.array(outdated, pa.string())), images["cell"].is_valid()
    )
    return one_array(pc.if_else(cut_of_these, OUTDATED, now))
