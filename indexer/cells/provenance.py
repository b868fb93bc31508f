"""What a field remembers of how its cells came about, and whether that still holds. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from locatlas.indexer.cells.rows import INHERITED

__all__ = ["FIELD_COLUMNS", "cells_digest", "is_outdated"]

FIELD_COLUMNS = ("source_digest", "sources", "row", "pixel_size_um", "cells_digest")
"""Columns of `fovs` that `is_outdated` looks at."""


def cells_digest(row: Mapping[str, Any], segmenter: str, given_digest: str) -> str:
    """What a field remembers of how its cells came about: "<the field>:<what found them>:<what they inherit>".

    Args:
        row: Of the field, with its source digest.
        segmenter: Id of what found its cells.
        given_digest: Of the masks or table rows that gave them, "" for none.
    """
    inherited = [row[column] for column in INHERITED]
    return f"{_field(row)}:{_digest([segmenter, given_digest])}:{_digest(inherited)}"


def is_outdated(row: Mapping[str, Any]) -> bool:
    """Whether a field's pixels, the meaning of its channels or its scale are others than when its cells were found.

    So it is after a run over the fields alone, or where the new field's cells could not be found.

    Args:
        row: Of `fovs`, with `FIELD_COLUMNS`.
    """
    return row["cells_digest"] is not None and not row["cells_digest"].startswith(f"{_field(row)}:")


def _field(row: Mapping[str, Any]) -> str:
    planes = [source["channels"] for source in row["sources"]]
    return _digest([row["source_digest"], planes, row["row"], row["pixel_size_um"]])


def _digest(said: list[Any]) -> str:
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=12).hexdigest()
