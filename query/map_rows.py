"""Which maps an atlas holds, as `status` says it. Reads the store."""

from typing import Any

import pyarrow.compute as pc

from locatlas.indexer import encoders
from locatlas.indexer.maps import map_rows
from locatlas.indexer.store import Store

__all__ = ["maps_state"]


def maps_state(store: Store) -> list[dict[str, Any]]:
    """What `status` says of maps: level, of, method, encoder, points, whether the encoder is the current one."""
    found = []
    counts = dict(zip(*_counts(store), strict=True))
    for row in map_rows(store):
        current = encoders.current(store, row["of"] or row["level"])
        is_current = current is not None and current.fingerprint == row["fingerprint"]
        shown = {name: row[name] for name in ("level", "of", "method", "encoder", "fingerprint", "seed", "params")}
        found.append(shown | {"points": counts[row["id"]], "current": is_current, "at": row["at"].isoformat()})
    return found


def _counts(store: Store) -> tuple[list[str], list[int]]:
    rows = store.read("maps", ["id", "placed"])
    return rows["id"].to_pylist(), pc.list_value_length(rows["placed"]).to_pylist()
