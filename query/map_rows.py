"""Which maps an atlas holds, as `status` says it and as exports take them along. Reads the store."""

from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.indexer import encoders
from locatlas.indexer.encoders import StoredEncoder
from locatlas.indexer.maps import MapKey, map_rows, stored_map
from locatlas.indexer.store import Store

__all__ = ["maps_state", "stored_xy"]


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


def stored_xy(
    store: Store, level: str, of: str | None, encoder: StoredEncoder
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Places (2,) by id on each map that is stored of these vectors, by method."""
    found = {}
    for row in map_rows(store):
        if (row["level"], row["of"], row["fingerprint"]) == (level, of, encoder.fingerprint):
            stored = stored_map(store, MapKey(level, of, encoder.fingerprint, row["method"]))
            assert stored is not None
            found[row["method"]] = dict(zip(stored.ids, stored.xy, strict=True))
    return found
