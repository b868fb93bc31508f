"""Reasons that differ in names and numbers only, put together, and the order of sources. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable

__all__ = ["by_reason", "natural"]

# what stands in quotes, what looks like a path, and numbers
_PARTICULAR = re.compile(r"'[^']*'|\S*/\S*|\d[\d.,]*")


def by_reason(rejected: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Group (source, reason) by what the reason says but for names, paths and numbers.

    Returns:
        Groups, the largest first, else in the order in which they came; each by source, line 9 before line 10.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for source, reason in rejected:
        groups[_PARTICULAR.sub("…", reason.replace(source, "…"))].append((source, reason))
    ordered = (sorted(group, key=lambda one: natural(one[0])) for group in groups.values())
    return sorted(ordered, key=len, reverse=True)


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts line 9 before line 10.

    >>> sorted(["line 10", "line 9"], key=natural)
    ['line 9', 'line 10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]
