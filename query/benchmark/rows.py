"""A scored cell as a row of the `benchmarks` table, and back. Pure."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from locatlas.query.benchmark.calibration import reliability
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.scored import Scored
from locatlas.query.scores.metrics import Counts

__all__ = ["from_row", "tidy", "to_row"]


def to_row(scored: Scored, *, key: str, grid: str, versions: Mapping[str, str]) -> dict[str, Any]:
    """A row of `schema.BENCHMARKS`.

    Args:
        scored: What was measured.
        key: `Cell.id` of the cell.
        grid: For which it was.
        versions: Of the packages that the result depends on.
    """
    arrays: dict[str, Any] = {
        "classes": np.array(scored.classes),
        "groups": np.array(scored.groups),
        "tp": scored.counts.tp,
        "fp": scored.counts.fp,
        "fn": scored.counts.fn,
        "n_right": scored.n_right,
        "n_rows": scored.n_rows,
    }
    for name in ("confusion", "confidence"):
        if (array := getattr(scored, name)) is not None:
            arrays[name] = array
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return {
        "id": key,
        "grid": grid,
        "cell": json.dumps(scored.cell.to_dict(), sort_keys=True),
        "encoder": scored.cell.encoder,
        "fingerprint": scored.fingerprint,
        "data_digest": scored.data_digest,
        "protocol": scored.cell.protocol,
        "n": scored.n,
        "n_groups": len(scored.groups),
        "n_references": scored.n_references,
        "macro_f1": scored.macro_f1,
        "micro_f1": scored.micro_f1,
        "accuracy": scored.accuracy,
        "balanced_accuracy": scored.balanced_accuracy,
        "counts": packed.getvalue(),
        "left_out": json.dumps(scored.left_out, sort_keys=True),
        "notes": list(scored.notes),
        "versions": json.dumps(dict(versions), sort_keys=True),
        "at": datetime.now(UTC),
    }


def from_row(row: Mapping[str, Any]) -> Scored:
    """What `to_row` wrote."""
    with np.load(io.BytesIO(row["counts"]), allow_pickle=False) as packed:
        found = {name: packed[name] for name in packed.files}
    return Scored(
        cell=Cell.from_dict(json.loads(row["cell"])),
        fingerprint=row["fingerprint"],
        data_digest=row["data_digest"],
        classes=tuple(found["classes"].tolist()),
        groups=tuple(found["groups"].tolist()),
        counts=Counts(found["tp"], found["fp"], found["fn"]),
        n_right=found["n_right"],
        n_rows=found["n_rows"],
        n_references=row["n_references"],
        confusion=found.get("confusion"),
        confidence=found.get("confidence"),
        left_out=json.loads(row["left_out"]),
        notes=tuple(row["notes"]),
    )


def tidy(scored: Scored) -> dict[str, Any]:
    """One row of the tidy table: the cell, what it was measured on, and its scores."""
    said = scored.cell.to_dict()
    settings = said.pop("settings")
    return {
        **said,
        "fingerprint": scored.fingerprint,
        "data_digest": scored.data_digest,
        "n": scored.n,
        "n_groups": len(scored.groups),
        "n_classes": len(scored.classes),
        "n_references": scored.n_references,
        "macro_f1": scored.macro_f1,
        "micro_f1": scored.micro_f1,
        "accuracy": scored.accuracy,
        "balanced_accuracy": scored.balanced_accuracy,
        "ece": None if scored.confidence is None else reliability(scored.confidence).ece,
        "settings": json.dumps(settings, sort_keys=True),
    }
