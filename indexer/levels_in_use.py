"""At which image levels an atlas has vectors: what a run that is told no level works at. Reads the store."""

import logging

import pyarrow.compute as pc

from locatlas.indexer.store import encoders
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store

__all__ = ["levels_in_use"]

_log = logging.getLogger(__name__)

_LEVELS = ("fov", "cell")


def levels_in_use(store: Store) -> tuple[str, ...]:
    """Levels that have images and, by any encoder, vectors; every level with images where none of them has.

    A level with images that is left out is told: its first vectors would answer questions that nobody asked it.

    Args:
        store: The atlas.

    Returns:
        Of "fov" and "cell"; those whose rows all lack an image (vectors made elsewhere) are not among them.
    """
    with_images = {level: n for level in _LEVELS if (n := _images(store, level))}
    used = tuple(
        level
        for level in with_images
        if any(store.has(e.table) and store.count(e.table) for e in encoders.stored_encoders(store, level))
    )
    for level, n in with_images.items() if used else ():
        if level not in used:
            _log.warning(
                "level %s, which has vectors, is embedded; none of the %d images at level %s has one: --level %s gives "
                "them theirs",
                *(used[0], n, level, level),
            )
    return used or tuple(with_images)


def _images(store: Store, level: str) -> int:
    """Rows that have an image."""
    sources = store.read(image_table(level), ["sources"])["sources"]
    return int(pc.sum(pc.greater(pc.list_value_length(sources), 0)).as_py() or 0)
