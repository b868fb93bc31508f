"""Answers as Arrow tables with what they are answers to, and as the documented JSON. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from locatlas.indexer.store.arrow_numbers import as_arrow
from locatlas.query.answers.localize import Localized
from locatlas.query.asking.view import View
from locatlas.types import Neighbors

__all__ = [
    "classify_document",
    "context",
    "localized_table",
    "neighbor_table",
    "neighbors_document",
    "proteins_document",
    "units_table",
    "with_context",
]

_SCORED = pa.list_(pa.struct([("localization", pa.string()), ("score", pa.float64())]))


def with_context(table: pa.Table, **said: Any) -> pa.Table:
    """The table with what it is an answer to, as `context` reads it."""
    return table.replace_schema_metadata({"locatlas": json.dumps(said)})


def context(table: pa.Table) -> dict[str, Any]:
    """What an answer is an answer to: query, level, exact, encoder."""
    found: dict[str, Any] = json.loads(table.schema.metadata[b"locatlas"])
    return found


def neighbor_table(
    view: View, found: Neighbors, *, query: Mapping[str, Any], notes: Sequence[str], **said: Any
) -> pa.Table:
    """Hits of one query, nearest first, rank from 1.

    Args:
        view: What was searched.
        found: Of one query.
        query: Who asked.
        notes: What a reader must know.
        said: What else the answer names: level, labels, encoder, ...
    """
    rows = found.indices[0][found.indices[0] >= 0]
    wanted = ("id", "protein", "dataset", "localizations", "medoid")
    hits = view.meta.select([c for c in wanted if c in view.meta.column_names]).take(as_arrow(rows))
    columns = {
        "rank": as_arrow(np.arange(1, len(rows) + 1)),
        "id": hits["id"],
        "protein": hits["protein"],
        "similarity": as_arrow(found.similarities[0][: len(rows)]),
        "localizations": hits["localizations"],
        "dataset": hits["dataset"],
    }
    if "medoid" in hits.column_names and hits["medoid"].null_count < len(hits):
        columns["medoid"] = hits["medoid"]
    return with_context(pa.table(columns), query=dict(query), notes=list(notes), **said)


def neighbors_document(table: pa.Table) -> dict[str, Any]:
    """The JSON document of `neighbors`."""
    return {**context(table), "hits": table.to_pylist()}


def localized_table(items: Sequence[Localized], **said: Any) -> pa.Table:
    """One row a classified item; `said` is what the answer names: level, labels, encoder, k, notes, ..."""
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("protein", pa.string()),
            ("annotated", pa.list_(pa.string())),
            ("predicted", _SCORED),
            ("scores", _SCORED),
            ("neighbors", pa.list_(pa.string())),
            ("similarities", pa.list_(pa.float32())),
        ]
    )
    return with_context(pa.Table.from_pylist([item.to_dict() for item in items], schema=schema), **said)


def units_table(items: Sequence[Mapping[str, Any]], **said: Any) -> pa.Table:
    """One row a field or protein that the votes of cells were put together to; `said` as `localized_table`."""
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("protein", pa.string()),
            ("n_cells", pa.int64()),
            ("n_silent", pa.int64()),
            ("annotated", pa.list_(pa.string())),
            ("predicted", _SCORED),
            ("top", pa.string()),
            ("scores", _SCORED),
            ("votes", pa.list_(pa.struct([("localization", pa.string()), ("cells", pa.int64())]))),
            ("heterogeneity", pa.float64()),
            ("entropy", pa.float64()),
        ]
    )
    return with_context(pa.Table.from_pylist(list(items), schema=schema), **said)


def classify_document(table: pa.Table) -> dict[str, Any]:
    """The JSON document of `classify`: images under `items`, or fields and proteins under `units`."""
    said = context(table)
    items, units = ([], table.to_pylist()) if said.get("by") else (table.to_pylist(), [])
    return {**said, "items": items, "units": units}


def proteins_document(table: pa.Table) -> dict[str, Any]:
    """The JSON document of `proteins`."""
    return {**context(table), "proteins": table.to_pylist()}
