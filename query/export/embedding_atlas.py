"""A Parquet file for embedding-atlas, which draws it in a browser. Writes one file; embedding-atlas is never imported.

Its wish for pandas 3 and AnnData's for pandas 2 cannot be met in one environment, so a file stands between the two.
"""

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from locatlas.errors import InputError
from locatlas.indexer.store.schema import image_table
from locatlas.query.export.chosen import Chosen, flat_columns, neighbors_within, on_map
from locatlas.query.export.target import check_target, whole_file
from locatlas.query.map.stored import map_command, read_map
from locatlas.types import Neighbors

__all__ = ["write_embedding_atlas"]

_NEIGHBORS = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float64()))])
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

TAKEN = ("x", "y", "neighbors", "thumbnail", "placed")
"""Columns of this file; a metadata column of such a name is renamed."""


def write_embedding_atlas(
    chosen: Chosen, path: Path, *, k: int, method: str | None, overwrite: bool
) -> tuple[str, int, list[str]]:
    """Write id, x, y, neighbors (row numbers and distances), thumbnail (image bytes), and metadata.

    Args:
        chosen: What is exported; what is not on the map is left out.
        path: Ends in .parquet.
        k: Exact nearest neighbors of each row, among the rows of the file.
        method: Of the map; None for the one that was made last.
        overwrite: Replace a file that is there.

    Returns:
        The command that shows the file, how many rows it has, and what a reader must know.

    Raises:
        InputError: If no map is stored, or no row is on it; names the command that makes one.
    """
    check_target(path, overwrite=overwrite)
    points = read_map(
        chosen.shelf.store, chosen.view.level, encoder=chosen.encoder.fingerprint, method=method, of=chosen.of
    )
    at, notes = on_map(chosen, points), []
    rows = np.flatnonzero(at >= 0)
    renew = f"`{map_command(chosen.shelf.store, chosen.view.level, points.method)}` brings it up to date"
    if not len(rows):
        message = f"{path}: no row is on the {points.method} map with the vector that it has now; {renew}"
        raise InputError(message)
    view, places = chosen.view.take(rows), at[rows]
    if left_out := len(at) - len(rows):
        notes.append(f"left out: {left_out} rows not on the {points.method} map, or with another vector now; {renew}")
    metadata = flat_columns(view)
    columns = {
        "id": metadata.pop("id"),
        "x": pa.array(points.xy[places, 0]),
        "y": pa.array(points.xy[places, 1]),
        "placed": pa.array(points.placed[places]),
        "neighbors": _neighbors_column(neighbors_within(view, k)),
    }
    if view.level != "protein":
        columns["thumbnail"] = _thumbnails(chosen, view.ids)
    columns |= {f"{name}_" if name in TAKEN else name: column for name, column in metadata.items()}
    table = pa.table(columns).replace_schema_metadata({"locatlas": json.dumps(chosen.origin())})
    with whole_file(path, overwrite=overwrite) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    image = " --image thumbnail" if "thumbnail" in columns else ""
    command = f"uvx embedding-atlas {shlex.quote(str(path))} --x x --y y --neighbors neighbors{image}"
    return command, len(table), notes


def _neighbors_column(found: Neighbors) -> pa.Array:
    """{"ids": row numbers from 0, "distances": 1 - cosine similarity}, as embedding-atlas wants them."""
    there = found.indices >= 0
    starts = pa.array(np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32))
    distances = np.maximum(1.0 - found.similarities[there].astype(np.float64), 0.0)
    lists = [pa.ListArray.from_arrays(starts, pa.array(values)) for values in (found.indices[there], distances)]
    return pa.StructArray.from_arrays(lists, fields=list(_NEIGHBORS))


def _thumbnails(chosen: Chosen, ids: list[str]) -> pa.Array:
    """The stored pictures, in the order of the ids; null where there is none."""
    held = chosen.shelf.store.read(image_table(chosen.view.level), ["id", "thumbnail"])
    place = {name: i for i, name in enumerate(held["id"].to_pylist())}
    pictures = held["thumbnail"].take(pa.array([place[name] for name in ids], pa.int64())).combine_chunks()
    none = pa.nulls(len(ids), pa.string())
    return pa.StructArray.from_arrays([pictures, none], fields=list(_IMAGE), mask=pictures.is_null())
