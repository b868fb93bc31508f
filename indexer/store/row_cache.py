"""Rows of small tables in files, so that a question that is answered from `cache/` opens no table at all. I/O.

Entries as those of vectors (`indexer.cache_entries`), written where an atlas has such already.
"""

import logging
from functools import partial

import pyarrow as pa

from locatlas.indexer.indices.sidecar import blake2b
from locatlas.indexer.store.arrow_files import read_table, write_table
from locatlas.indexer.store.cache_entries import entries_of, has_room, opened_entry, remove_entry, write_entry
from locatlas.indexer.store.lance_files import manifest_digest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["KEPT_TABLES", "keep_rows", "kept_rows"]

KEPT_TABLES = frozenset({"encoders"})
"""Tables of a few rows that every question reads."""

_PART = "rows.arrow"

_log = logging.getLogger(__name__)


def kept_rows(atlas: AtlasFolder, table: str, version: int) -> pa.Table | None:
    """All rows of this very version of a table, in the order in which they were read; None where they are not kept.

    Those of a file that is not what was written are not used: `verify` tells, and it is made again.
    """
    key = manifest_digest(atlas, table, version)
    if key is None or (said := opened_entry(entries_of(atlas, table) / key, table, (_PART,))) is None:
        return None
    try:
        data = (entries_of(atlas, table) / key / _PART).read_bytes()
    except OSError:
        return None
    # all bytes are compared, which takes no time for so few: Arrow may end the process on a flipped one
    return read_table(data) if blake2b(data) == said["digests"][_PART] else None


def keep_rows(atlas: AtlasFolder, table: str, version: int, rows: pa.Table) -> None:
    """Keep the rows of a version, in place of those of others; only where there is a cache, and room for them."""
    key = manifest_digest(atlas, table, version)
    if key is None or not (atlas.path / "cache").is_dir() or not has_room(atlas, rows.nbytes):
        return
    folder = entries_of(atlas, table)
    try:
        write_entry(folder, key, {"table": table, "version": version}, {_PART: partial(write_table, table=rows)})
        for entry in folder.glob("[!.]*"):
            if entry.name != key:
                remove_entry(entry)
    except OSError as error:
        _log.debug("no cache of %s, or not in place of others: %s", table, error)
