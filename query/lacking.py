"""Images that wait for their vector by an encoder: how many, and in words. Reads the store."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.files.planes import plural
from locatlas.indexer.store.aligned import rows_in
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.quarantine import rejection_id
from locatlas.indexer.store.rows import rows_of
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.sources import row_source
from locatlas.indexer.store.tables import Store

__all__ = ["lacking", "lacking_in_words"]


def lacking(store: Store, encoder: StoredEncoder, embedded: pa.Array | pa.ChunkedArray) -> int:
    """Rows of an encoder's level that have an image, no vector by it, and no source in quarantine.

    Cells that its crop plan drops at the border are counted, as only their field tells which these are.

    Args:
        store: The atlas.
        encoder: Whose vectors; of imported ones no image waits for any.
        embedded: Ids that have one.
    """
    if encoder.is_imported:
        return 0
    columns = ["id", "dataset", "root", "sources", "row", *(["cell", "box"] if encoder.level == "cell" else [])]
    images = store.read(image_table(encoder.level), columns)
    images = images.filter(pc.greater(pc.list_value_length(images["sources"]), 0))
    images = images.filter(pa.array(rows_in(images["id"], embedded) < 0))
    held = store.read("quarantine", ["id", "dataset"])
    keys = set(held["id"].to_pylist())
    of_these = images.filter(pc.is_in(images["dataset"], value_set=pc.unique(held["dataset"])))
    refused = sum(rejection_id(row["dataset"], row["root"], row_source(row)) in keys for row in rows_of(of_these))
    return len(images) - refused


def lacking_in_words(encoder: Mapping[str, Any]) -> str | None:
    """The images that wait for their vector by an encoder that is current or being built; None where none does.

    Args:
        encoder: Of the document of `status`.
    """
    if encoder["state"] in ("superseded", "beside") or not encoder["lacking"]:
        return None
    if encoder["state"] == "current" and (encoder["crop"] or {}).get("border") == "drop":
        return None  # those at the border never get one
    being_built = ", which is being built" if encoder["state"] == "building" else ""
    waiting = plural(encoder["lacking"], "image")
    return f"{waiting} without a vector at level {encoder['level']} by {encoder['name']}{being_built}"
