"""Rows of a grid's document put together for tables, as the command and the page of a study show them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["by_condition", "how_many_seeds"]


def by_condition(summaries: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Summaries that were scored on the same rows, groups and classes, under words that say on what."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in summaries:
        words = (
            f"{row['protocol']}, level {row['level']}, {row['labels']}-label: {row['n']:g} scored rows, "
            f"{row['n_groups']:g} groups, {row['n_classes']:g} classes"
        )
        found.setdefault(words, []).append(row)
    return found


def how_many_seeds(summary: Mapping[str, Any]) -> str:
    """Seeds of a summary, and orders where a random plan drew several, e.g. "3 x 2 orders"."""
    return f"{summary['n_seeds']}" + (f" x {summary['n_orders']} orders" if summary["n_orders"] > 1 else "")
