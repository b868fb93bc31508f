"""When an encoder that is complete may take the place of the current one. Reads the store."""

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.dropped import PLACE_COLUMNS, is_dropped
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.rows import rows_of
from locatlas.indexer.store.tables import Store

__all__ = ["LACKING_SHARE", "lacks_too_many"]

LACKING_SHARE = 0.01
"""Of the images that have a vector by the current encoder those that may lack one by the encoder switched to."""


def lacks_too_many(store: Store, before: StoredEncoder, encoder: StoredEncoder, lost: Collection[str], n: int) -> bool:
    """Whether more than `LACKING_SHARE` of the images that answer would stop, against what was asked for.

    Cells that the encoder's crop plan leaves out were asked to be. Imported vectors, which no encoder can make, hold
    no switch back.

    Args:
        store: The atlas.
        before: The current encoder.
        encoder: To be current.
        lost: Ids of images that have a vector by the first and none by the second.
        n: Images that have one by the first.
    """
    if before.is_imported or len(lost) <= LACKING_SHARE * n:
        return False
    crop, asked = encoder.spec.crop, 0
    if crop is not None and crop.border == "drop":
        cells = store.read("cells", ["id", "root", "sources", "row", "cell", *PLACE_COLUMNS])
        cells = cells.filter(pc.is_in(cells["id"], value_set=pa.array(sorted(lost), pa.string())))
        asked = sum(is_dropped(row, crop) for row in rows_of(cells))
    return len(lost) - asked > LACKING_SHARE * n
