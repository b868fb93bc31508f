"""Which maps an atlas holds, as `status` says it and as exports take them along. Reads the store."""

from typing import Any

import pyarrow.compute as pc

from locatlas.indexer.store import encoders
from locatlas.indexer.store.maps import map_rows
from locatlas.indexer.store.tables import Store

__all__ = ["maps_state", "stored_methods"]


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


def stored_methods(store: Store, level: str, of: str | None, fingerprint: str) -> list[str]:
    """Methods of the maps that are stored of these vectors, sorted."""
    wanted = (level, of, fingerprint)
    return sorted(r["method"] for r in map_rows(store) if (r["level"], r["of"], r["fingerprint"]) == wanted)
