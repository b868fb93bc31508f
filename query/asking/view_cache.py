"""Views of large levels in files: metadata in the rows' order and the codes of what is excluded, mapped. I/O.

A view is made of a table of vectors and the tables of images; making it reads all rows of these, sorts and spreads
them, which takes longer than most questions. An entry (`indexer.cache_entries`) stands beside the vectors' own and is
named by the digests of the manifests of all tables that it was made of: of another state of any of them it is not used.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from locatlas.indexer.indices.sidecar import blake2b
from locatlas.indexer.store.aligned import one_array
from locatlas.indexer.store.arrow_files import mapped_table, write_table
from locatlas.indexer.store.arrow_numbers import as_arrow, as_numpy
from locatlas.indexer.store.cache_entries import entries_of, has_room, opened_entry, remove_entry, said_by, write_entry
from locatlas.indexer.store.lance_files import manifest_digest
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.vector_cache import MappedVectors
from locatlas.query.asking.view import View
from locatlas.query.search.coding import Coding

__all__ = ["MadeOf", "keep_view", "kept_view", "made_of"]

_MADE_AS = 1
"""Raised when `View.build` makes other columns of the same rows; a test keeps what it makes of some for each number."""

_META, _CODES, _NAMES = "meta.arrow", "codes.arrow", "names.arrow"
_CODED = ("fov", "protein")
"""Columns that questions exclude by. Ids need no codes: each row has its own."""

_log = logging.getLogger(__name__)

MadeOf = Mapping[str, tuple[int, str] | None]
"""By table of images the version that is there now and the digest of its manifest; None where there is no table."""


def made_of(store: Store, tables: Sequence[str]) -> MadeOf:
    """The states that tables are in now."""
    found: dict[str, tuple[int, str] | None] = {}
    for table in tables:
        version = store.version(table) if store.has(table) else 0
        digest = manifest_digest(store.folder, table, version)
        found[table] = None if digest is None else (version, digest)
    return found


def _key(vectors: str, images: MadeOf) -> str:
    return blake2b(json.dumps([_MADE_AS, vectors, images], sort_keys=True).encode())


def kept_view(atlas: AtlasFolder, level: str, mapped: MappedVectors, images: MadeOf) -> View | None:
    """The view of these very vectors with images in this very state; None where it is not kept.

    Args:
        atlas: The atlas.
        level: "fov" or "cell".
        mapped: All vectors of the table.
        images: States of the tables of images (`made_of`), looked at after the vectors.
    """
    if mapped.key is None:
        return None
    entry = entries_of(atlas, mapped.held.table) / _key(mapped.key, images)
    said = opened_entry(entry, mapped.held.table, (_META, _CODES, _NAMES))
    if said is None or said["level"] != level or said["n"] != len(mapped.held):
        return None
    try:
        meta, codes, names = (mapped_table(entry / part) for part in (_META, _CODES, _NAMES))
        codings = {c: Coding(one_array(names[c])[0].values, as_numpy(codes[c])) for c in _CODED}
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None  # not what was written: `verify` tells, and it is made again
    if not len(meta) == len(codes) == said["n"]:
        return None
    codings["id"] = Coding(one_array(meta["id"]), np.arange(len(meta), dtype=np.int64))
    return View(level, meta, mapped.held.vectors, mapped.norms, codings=codings)


def keep_view(atlas: AtlasFolder, mapped: MappedVectors, images: MadeOf, view: View) -> None:
    """Keep a view of all of the mapped vectors in place of those of older states; only where there is room for it.

    Args:
        atlas: The atlas.
        mapped: All vectors of the table, of an entry.
        images: States of the tables of images from which the view was made.
        view: As `View.build` made it.
    """
    if mapped.key is None or len(view.coded("id")) != len(view) or not has_room(atlas, view.meta.nbytes):
        return
    table, key = mapped.held.table, _key(mapped.key, images)
    coded = {column: view.coded(column) for column in _CODED}
    codes = pa.table({column: as_arrow(coding.of_row) for column, coding in coded.items()})
    names = pa.table({column: _as_one(coding.known) for column, coding in coded.items()})
    said: dict[str, Any] = {"table": table, "version": mapped.held.version, "n": len(view), "level": view.level}
    said["images"] = {name: None if state is None else state[0] for name, state in images.items()}
    parts = {_META: view.meta, _CODES: codes, _NAMES: names}
    folder = entries_of(atlas, table)
    try:
        write_entry(folder, key, said, {part: partial(write_table, table=rows) for part, rows in parts.items()})
        for entry in folder.glob("[!.]*"):
            if entry.name != key and _is_older(entry, said):
                remove_entry(entry)
    except OSError as error:
        _log.debug("no cache of the view of %s, or not in place of older ones: %s", table, error)


def _as_one(known: pa.Array) -> pa.Array:
    """Names as a column of one row."""
    return pa.ListArray.from_arrays(pa.array([0, len(known)], pa.int32()), known)


def _is_older(entry: Any, said: Mapping[str, Any]) -> bool:
    """Whether an entry is of a view, and of no later state of any of its tables."""
    try:
        other = said_by(entry)
        return other["version"] <= said["version"] and all(
            (version or 0) <= (said["images"].get(name) or 0) for name, version in other["images"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False
