"""Image rows of vectors that were made elsewhere: what a file says of each, as the image tables hold it. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.store.rows import pairs
from locatlas.indexer.store.schema import image_schema
from locatlas.indexer.units import positive_number

__all__ = ["described_anew", "imported_rows"]

_TEXT_COLUMNS = ("protein", "ensembl_id", "antibody", "cell_line", "plate", "well")
_METADATA = (*_TEXT_COLUMNS, "channels", "pixel_size_um", "localizations", "groups", "metadata", "fov_id")
_OWN = {*_TEXT_COLUMNS, "localizations", "pixel_size_um", "fov_id", "path", "channels", "level", "dataset"}
_GROUP = "group_"


def imported_rows(
    ids: pa.Array, digests: pa.Array, columns: Mapping[str, pa.Array], *, dataset: str, level: str
) -> pa.Table:
    """Rows without an image, from the metadata columns of a file.

    Args:
        ids: Text (n,), as the atlas has them.
        digests: Of the vectors, text (n,).
        columns: Text (n,) each; null or empty where unknown. Those that no column of the table is for become groups
            (`group_...`) or metadata.
        dataset: Name of the data set.
        level: "fov" or "cell".

    Returns:
        (n,) rows of the image table's schema.
    """
    n = len(ids)
    given = {name: pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text) for name, text in columns.items()}
    groups = {name.removeprefix(_GROUP): text for name, text in given.items() if name.startswith(_GROUP)}
    others = {name: text for name, text in given.items() if name not in _OWN and not name.startswith(_GROUP)}
    schema = image_schema("fov" if level == "fov" else "cell")
    said: dict[str, Any] = {name: given[name] for name in (*_TEXT_COLUMNS, "fov_id") if name in given}
    said |= {
        "id": ids,
        "dataset": pa.repeat(pa.scalar(dataset, pa.string()), n),
        "channels": _parsed(given.get("channels"), _listed, schema, "channels", n),
        "localizations": _parsed(given.get("localizations"), _set, schema, "localizations", n),
        "pixel_size_um": _parsed(given.get("pixel_size_um"), positive_number, schema, "pixel_size_um", n),
        "groups": _pairs(groups, schema.field("groups").type, n),
        "metadata": _pairs(others, schema.field("metadata").type, n),
        "source_digest": digests,
    }
    empty = {name: pa.repeat(pa.scalar([], schema.field(name).type), n) for name in ("graded", "sources", "qc")}
    columns_now = {name: said.get(name, empty.get(name)) for name in schema.names}
    filled = [pa.nulls(n, f.type) if columns_now[f.name] is None else columns_now[f.name] for f in schema]
    return pa.table(filled, schema=schema)


def _listed(text: str | None) -> list[str]:
    return [part for part in (text or "").split(";") if part]


def _set(text: str | None) -> list[str]:
    return sorted({part.strip() for part in (text or "").split(";") if part.strip()})


def _parsed(column: pa.Array | None, parse: Callable[[Any], Any], schema: pa.Schema, name: str, n: int) -> pa.Array:
    """`parse` of each text, called once for each distinct one."""
    kind = schema.field(name).type
    if column is None:
        return pa.array([parse(None)], kind).take(pa.array(np.zeros(n, dtype=np.int64)))
    coded = column.dictionary_encode()
    values = [*(parse(text) for text in coded.dictionary.to_pylist()), parse(None)]
    return pa.array(values, kind).take(pc.fill_null(coded.indices, len(values) - 1))


def _pairs(columns: Mapping[str, pa.Array], kind: pa.DataType, n: int) -> pa.Array:
    """`rows.pairs` of what each row says: (name, value), sorted by name."""
    names = sorted(columns)
    if not names:
        return pa.repeat(pa.scalar([], kind), n)
    k = len(names)
    by_row = pa.array(np.arange(k * n).reshape(k, n).T.reshape(-1))
    values = pa.concat_arrays([columns[name] for name in names]).take(by_row)
    called = pa.array(names, pa.string()).take(pa.array(np.tile(np.arange(k), n)))
    there = values.is_valid()
    offsets = np.zeros(n + 1, dtype=np.int32)
    np.cumsum(there.to_numpy(zero_copy_only=False).reshape(n, k).sum(axis=1), out=offsets[1:])
    structs = pa.StructArray.from_arrays([called.filter(there), values.filter(there)], names=["name", "value"])
    return pa.ListArray.from_arrays(pa.array(offsets), structs).cast(kind)


def described_anew(here: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A stored row as it is to be written; None where it may stay.

    Images keep what their data set says of them. Of a row without an image, what this file says replaces what stands
    there, and what it does not say stays.

    Args:
        here: The row that is stored.
        row: What the file says, of `imported_rows`.
    """
    if here["sources"]:
        return None
    told = {name: row[name] for name in _METADATA if row.get(name) not in (None, [])}
    for name in ("groups", "metadata"):
        before, said = ({p["name"]: p["value"] for p in r[name]} for r in (here, row))
        told[name] = pairs(before | said)
    return {**here, **told} if any(here.get(name) != value for name, value in told.items()) else None
