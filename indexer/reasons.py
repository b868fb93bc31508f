"""Reasons that differ in names and numbers only, put together. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable

__all__ = ["by_reason"]

# what stands in quotes, what looks like a path, and numbers
_PARTICULAR = re.compile(r"'[^']*'|\S*/\S*|\d[\d.,]*")


def by_reason(rejected: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Group (source, reason) by what the reason says but for names, paths and numbers.

    Returns:
        Groups, the largest first, else in the order in which they came; each in its own order.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for source, reason in rejected:
        groups[_PARTICULAR.sub("…", reason.replace(source, "…"))].append((source, reason))
    return sorted(groups.values(), key=len, reverse=True)
