"""What stands in the tables of an atlas, read with Lance alone: the store that is tortured is not trusted. I/O."""

from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["snapshot"]

_COLUMNS = {
    "fovs": ["id", "dataset", "protein", "localizations"],
    "cells": ["id", "fov_id", "box", "localizations", "annotated", "annotated_by", "source_digest"],
    "encoders": ["id", "state"],
    "annotations": ["id", "localizations"],
    "maps": ["id", "ids", "xy"],
    "quarantine": ["id", "dataset", "source"],
    "runs": ["id", "state"],
}


def snapshot(atlas: Path) -> dict[str, Any]:
    """Rows as the model has them.

    Returns:
        rows: (section, id) to what stands there.
        duplicates: Table to how many ids occur more than once.
        digests: Cell to the digest of its pixels.
        runs: States of the ledger, in the order of their start.
        stale: Vectors of the encoders in use that were made of other pixels than their image's.
    """
    import lance

    rows: dict[tuple[str, str], Any] = {}
    duplicates: dict[str, int] = {}
    digests: dict[str, str] = {}
    runs: list[str] = []
    held: dict[str, dict[str, str]] = {}
    for path in sorted((atlas / "db").glob("*.lance")):
        table = path.stem
        if path.name.startswith(".") or not any(path.glob("_versions/*.manifest")):
            continue
        columns = _COLUMNS.get(table)
        if table.startswith("emb_"):
            columns = ["id", "source_digest", "vector"]
        try:
            found = lance.dataset(str(path)).to_table(columns=columns)
        except (OSError, ValueError):
            if path.exists():
                raise
            continue  # `maintain` took it away meanwhile
        ids = found["id"].to_pylist()
        duplicates[table] = sum(n - 1 for n in Counter(ids).values())
        if table == "runs":
            runs = [row["state"] for row in found.sort_by("id").to_pylist()]
        elif table.startswith("emb_"):
            dim = found.schema.field("vector").type.list_size
            flat = found["vector"].combine_chunks().flatten().to_numpy().reshape(-1, dim)
            rows.update({(table, i): vector.tobytes() for i, vector in zip(ids, flat, strict=True)})
            held[table] = dict(zip(ids, found["source_digest"].to_pylist(), strict=True))
        else:
            for row in found.to_pylist():
                _put(table, row, rows, digests)
    return {"rows": rows, "duplicates": duplicates, "digests": digests, "runs": runs, "held": held}


def _put(table: str, row: dict[str, Any], rows: dict[tuple[str, str], Any], digests: dict[str, str]) -> None:
    i = row["id"]
    if table == "fovs":
        rows[table, i] = (row["dataset"], row["protein"], tuple(row["localizations"]))
    elif table == "cells":
        rows[table, i] = (row["fov_id"], tuple(row["box"]), tuple(row["localizations"]))
        digests[i] = row["source_digest"]
        if row["annotated_by"] is not None:
            annotated = row["annotated"]
            rows["annotated", i] = (None if annotated is None else tuple(annotated), row["annotated_by"])
    elif table == "encoders":
        rows[table, i] = row["state"]
    elif table == "annotations":
        rows[table, i] = tuple(row["localizations"])
    elif table == "quarantine":
        rows[table, f"{row['dataset']}:{row['source']}"] = True
    elif table == "maps":
        rows[table, i] = (tuple(row["ids"]), tuple(row["xy"]))
