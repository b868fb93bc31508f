"""At which k nearest neighbors are compared and shown, the same in tables and figures. Pure."""

from collections import defaultdict
from collections.abc import Iterable

from locatlas.query.benchmark.cell import Cell

__all__ = ["Condition", "condition_of", "shown_ks"]

Condition = tuple[str, str, str]
"""Level, labels, protocol: what has tables and figures of its own."""


def condition_of(cell: Cell) -> Condition:
    """Of a cell."""
    return cell.level, cell.labels, cell.protocol


def shown_ks(cells: Iterable[Cell], wanted: int) -> dict[Condition, int]:
    """The k of each condition that has any: the wanted one, or the largest below it where it exceeds the references.

    Args:
        cells: That were measured.
        wanted: Chosen before the scores were seen.
    """
    there: defaultdict[Condition, set[int]] = defaultdict(set)
    for cell in cells:
        if cell.k is not None:
            there[condition_of(cell)].add(cell.k)
    return {
        condition: wanted if wanted in ks else max((k for k in ks if k < wanted), default=min(ks))
        for condition, ks in there.items()
    }
