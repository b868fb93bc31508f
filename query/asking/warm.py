"""Bring the files up to date that questions map, so that the first question after a command need not. I/O."""

from collections.abc import Sequence
from pathlib import Path

from locatlas.indexer.store import vector_cache
from locatlas.indexer.store.encoders import current
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.shelf import Shelf

__all__ = ["prepare_questions"]


def prepare_questions(atlas: Path, levels: Sequence[str]) -> None:
    """Write what is kept for questions of large levels (`cache/`), where it is not of the state of now.

    Args:
        atlas: Atlas folder.
        levels: Image levels; those without a current encoder, and small ones, are passed over.

    Raises:
        StoreDamagedError: If a table cannot be read.
    """
    store = Store.open(atlas)
    for level in levels:
        encoder = current(store, level)
        if encoder is None or not store.has(encoder.table):
            continue
        if 4 * encoder.spec.dim * store.count(encoder.table) >= vector_cache.CACHE_FROM_BYTES:
            Shelf(store).load(level, None)
