"""How many images had no file any more when their data set was indexed last, as the ledger says. Reads the store."""

import json
from typing import Any

from locatlas.indexer.store.tables import Store

__all__ = ["GONE", "gone_by_last_look"]

GONE = {"fov": "fields without their file", "cell": "cells without their file"}
"""What is counted of it in the ledger, by level."""


def gone_by_last_look(store: Store) -> dict[tuple[str, str], tuple[int, str]]:
    """Images whose files were gone when their data set was indexed last and anything was to be said of it.

    Returns:
        By (data set, level): how many, and the id of the run that found them so.
    """
    found: dict[tuple[str, str], tuple[int, str]] = {}
    rows: list[dict[str, Any]] = store.read("runs", ["id", "command", "state", "dataset", "counts"]).to_pylist()
    for row in sorted(rows, key=lambda one: one["id"]):
        if row["command"] == "index" and row["state"] == "done":
            counts = json.loads(row["counts"])
            found |= {
                (row["dataset"], level): (counts[word], row["id"]) for level, word in GONE.items() if word in counts
            }
    return found
