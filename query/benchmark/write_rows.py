"""Rows as a CSV file. Writes one file."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from locatlas.indexer.csv_cells import as_cell

__all__ = ["write_rows"]


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write rows as CSV; an existing file is replaced.

    Lists are joined by semicolons; a column that ends in `ci95` becomes two, `_low` and `_high`; None is empty. Text
    that a spreadsheet program would run as a formula is escaped (`indexer.csv_cells`).

    Args:
        rows: At least one; all with the columns of the first.
        path: Where to.

    Returns:
        The path.
    """

    def flat(row: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in row.items():
            if name.endswith("ci95"):
                low, high = value or (None, None)
                out |= {f"{name}_low": low, f"{name}_high": high}
            else:
                out[name] = ";".join(map(str, value)) if isinstance(value, list | tuple) else value
        return out

    flattened = [flat(row) for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(flattened[0]))
        writer.writeheader()
        writer.writerows({name: as_cell(value) for name, value in row.items()} for row in flattened)
    return path
