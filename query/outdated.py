"""Which images are still those that their rows and vectors speak of. Reads the store."""

import pyarrow as pa

from locatlas.indexer.cells.provenance import FIELD_COLUMNS, is_outdated
from locatlas.indexer.store import Store

__all__ = ["OUTDATED", "digests_now"]

OUTDATED = ""
"""Stands for the digest of a cell whose field is another now: no vector was made of that."""


def digests_now(store: Store, level: str, images: pa.Table) -> dict[str, str]:
    """Digest of what each image's vectors must have been made from.

    A cell that was cut out of a field that has other pixels now, or other channels or another scale, has `OUTDATED`
    until the field is searched again.

    Args:
        store: The atlas.
        level: "fov" or "cell".
        images: Rows of the image table with id and source_digest, at level cell with fov_id and cell, too.
    """
    now = dict(zip(images["id"].to_pylist(), images["source_digest"].to_pylist(), strict=True))
    if level != "cell":
        return now
    outdated = {row["id"] for row in store.read("fovs", ["id", *FIELD_COLUMNS]).to_pylist() if is_outdated(row)}
    if outdated:
        rows = zip(*(images[c].to_pylist() for c in ("id", "fov_id", "cell")), strict=True)
        now |= {i: OUTDATED for i, fov, cell in rows if fov in outdated and cell is not None}
    return now
