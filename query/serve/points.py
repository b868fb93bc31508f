"""A stored map as the table that a page draws: where each point lies, and what it is. Reads the store."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.store.schema import image_table
from locatlas.query.asking.vocabulary import mapped_lists
from locatlas.query.map.stored import MapPoints, read_map
from locatlas.query.serve.asked import PointsAsked
from locatlas.query.serve.catalogue import Catalogue
from locatlas.query.serve.reading import Desk

__all__ = ["points_table"]


def points_table(desk: Desk, names: Catalogue, asked: PointsAsked) -> pa.Table:
    """One row a point, by id.

    Args:
        desk: The atlas.
        names: Its proteins.
        asked: Level, encoder (None for the current one), method of the map (None for the one that was made last), and
            the map of labels that brings localizations into one vocabulary.

    Returns:
        id, x, y (float32), protein, dataset, localization (the first of the set by name, null where there is none),
        localizations (the whole set joined by ";", null where it is empty), n_localizations (int16), placed (bool):
        names as dictionaries. The schema's metadata says how it was made.

    Raises:
        UnknownNameError: If there is no such encoder, method or map of labels.
        InputError: If no such map is stored; names the command that makes it.
    """
    level = asked.level
    found = read_map(desk.store, level, encoder=asked.encoder, method=asked.method)
    said = _of_proteins(names, found.ids) if level == "protein" else _of_images(desk, level, found.ids)
    points = found.to_arrow()
    localizations = said["localizations"].combine_chunks()
    if asked.map_labels is not None:
        localizations = mapped_lists(localizations, asked.map_labels)
    columns = {
        "id": points["id"],
        "x": points["x"],
        "y": points["y"],
        "protein": said["protein"].combine_chunks().dictionary_encode(),
        "dataset": said["dataset"].combine_chunks().dictionary_encode(),
        "localization": _first(localizations).dictionary_encode(),
        "localizations": _joined(localizations).dictionary_encode(),
        "n_localizations": pc.cast(pc.fill_null(pc.list_value_length(localizations), 0), pa.int16()),
        "placed": points["placed"],
    }
    return pa.table(columns).replace_schema_metadata(_metadata(found))


def _of_images(desk: Desk, level: str, ids: list[str]) -> pa.Table:
    table = desk.store.read(image_table(level), ["id", "protein", "dataset", "localizations"])
    return table.take(pc.index_in(pa.array(ids, pa.string()), value_set=table["id"].combine_chunks()))


def _of_proteins(names: Catalogue, ids: list[str]) -> pa.Table:
    known = [names.proteins.get(name) for name in ids]
    rows = [
        {
            "protein": name,
            "dataset": None if one is None else "+".join(one.datasets),
            "localizations": [] if one is None else one.localizations,
        }
        for name, one in zip(ids, known, strict=True)
    ]
    kinds = [("protein", pa.string()), ("dataset", pa.string()), ("localizations", pa.list_(pa.string()))]
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def _first(lists: pa.Array) -> pa.Array:
    """The first item of each list, null where it is empty."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if len(lengths) else np.zeros(0, np.int64)
    return pc.list_flatten(lists).take(pa.array(starts, mask=lengths == 0))


def _joined(lists: pa.Array) -> pa.Array:
    """The items of each list as one text, null where it is empty: no name is not the name ""."""
    has = pc.greater(pc.fill_null(pc.list_value_length(lists), 0), 0)
    return pc.if_else(has, pc.binary_join(lists, ";"), pa.scalar(None, pa.string()))


def _metadata(found: MapPoints) -> dict[str, str]:
    said = {
        "level": found.level,
        "of": found.of,
        "encoder": found.encoder,
        "fingerprint": found.fingerprint,
        "method": found.method,
        "params": dict(found.params),
        "used": dict(found.used),
        "notes": found.notes,
    }
    # texts as they are, the rest as JSON
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()}
