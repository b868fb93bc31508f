"""Answers as Arrow tables with what they are answers to, and as the documented JSON. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from locatlas.indexer.encoders import StoredEncoder
from locatlas.query.localize import Localized
from locatlas.query.view import View
from locatlas.types import Neighbors

__all__ = ["context", "localized_table", "neighbor_table", "neighbors_document"]

_SCORED = pa.list_(pa.struct([("localization", pa.string()), ("score", pa.float64())]))


def _with_context(table: pa.Table, **said: Any) -> pa.Table:
    return table.replace_schema_metadata({"locatlas": json.dumps(said)})


def context(table: pa.Table) -> dict[str, Any]:
    """What an answer is an answer to: query, level, exact, encoder."""
    found: dict[str, Any] = json.loads(table.schema.metadata[b"locatlas"])
    return found


def _encoder(encoder: StoredEncoder) -> dict[str, str]:
    return {"name": encoder.spec.name, "fingerprint": encoder.fingerprint}


def neighbor_table(
    view: View,
    found: Neighbors,
    *,
    query: Mapping[str, Any],
    exact: bool,
    encoder: StoredEncoder,
    exclude: str,
    notes: Sequence[str],
) -> pa.Table:
    """Hits of one query, nearest first, rank from 1."""
    rows = found.indices[0][found.indices[0] >= 0]
    hits = view.meta.select([c for c in ("id", "protein", "dataset", "localizations") if c in view.meta.column_names])
    hits = hits.take(pa.array(rows))
    table = pa.table(
        {
            "rank": pa.array(np.arange(1, len(rows) + 1)),
            "id": hits["id"],
            "protein": hits["protein"],
            "similarity": pa.array(found.similarities[0][: len(rows)]),
            "localizations": hits["localizations"],
            "dataset": hits["dataset"],
        }
    )
    return _with_context(
        table,
        query=dict(query),
        level=view.level,
        exact=exact,
        encoder=_encoder(encoder),
        exclude=exclude,
        notes=list(notes),
    )


def neighbors_document(table: pa.Table) -> dict[str, Any]:
    """The JSON document of `neighbors`."""
    return {**context(table), "hits": table.to_pylist()}


def localized_table(
    items: Sequence[Localized], *, level: str, exact: bool, encoder: StoredEncoder, k: int, notes: Sequence[str]
) -> pa.Table:
    """One row a classified item."""
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
    table = pa.Table.from_pylist([item.to_dict() for item in items], schema=schema)
    return _with_context(table, level=level, exact=exact, encoder=_encoder(encoder), k=k, notes=list(notes))
