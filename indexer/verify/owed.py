"""Vectors that a repair took out and that are not there again, kept in `damaged/vectors.json` until they are. I/O.

Without it a repair that is stopped, or that cannot reach the images, would leave an atlas that looks whole: a field
without a vector may also be one that was only searched for cells.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow.compute as pc

from locatlas.indexer.atomic import write_atomically
from locatlas.indexer.layout import AtlasFolder
from locatlas.indexer.store import Store
from locatlas.indexer.verify.finding import Finding, finding
from locatlas.indexer.verify.relations import images_of

__all__ = ["images", "look_at_owed", "note_rows", "read_rows", "settle_rows"]


def read_rows(folder: AtlasFolder) -> dict[str, int]:
    """Rows that tables of vectors had before a repair took some out. A file that cannot be read says nothing."""
    try:
        rows = json.loads(_path(folder).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(k): int(v) for k, v in rows.items()} if isinstance(rows, dict) else {}


def note_rows(folder: AtlasFolder, table: str, rows: int) -> None:
    """Say how many rows a table has, before some are taken out; what was said earlier stays."""
    noted = read_rows(folder)
    if table not in noted:
        _write(folder, {**noted, table: rows})


def settle_rows(store: Store) -> None:
    """Forget the tables that are gone, or that have their vectors again."""
    noted = read_rows(store.folder)
    if noted and (left := {table: rows for table, rows in noted.items() if _missing(store, table, rows)}) != noted:
        _write(store.folder, left)


def images(store: Store, table: str) -> int:
    """Images that may have a vector in this table: cells, or fields that have files."""
    if images_of(table) == "cells":
        return store.count("cells")
    sources = store.read("fovs", ["sources"])["sources"]
    return int(pc.sum(pc.greater(pc.list_value_length(sources), 0)).as_py() or 0)


def look_at_owed(store: Store, readable: Collection[str]) -> list[Finding]:
    """A warning for each table that misses vectors since a repair, where it and its images are readable tables."""
    findings = []
    for table, rows in read_rows(store.folder).items():
        if {table, images_of(table)} <= set(readable) and (missing := _missing(store, table, rows)):
            means = f"{missing} vectors that a repair took out have not been made again"
            do = "--repair makes them where the encoder is in use and the images are at hand, and says what to run else"
            findings.append(finding("warning", "vectors missing", table, means, do))
    return findings


def _missing(store: Store, table: str, rows: int) -> int:
    if not store.has(table):
        return 0
    return max(0, min(rows, images(store, table)) - store.count(table))


def _path(folder: AtlasFolder) -> Path:
    return folder.path / "damaged" / "vectors.json"


def _write(folder: AtlasFolder, rows: Mapping[str, int]) -> None:
    if rows:
        write_atomically(_path(folder), json.dumps(rows, indent=1, sort_keys=True).encode())
    else:
        _path(folder).unlink(missing_ok=True)
