"""The kinds of index: which there are, which a table calls for, and how thoroughly each may search. Pure."""

from collections.abc import Iterator, Mapping
from typing import Literal

__all__ = [
    "AUTO_EXACT_BELOW",
    "AUTO_LATER_SHARE",
    "DISK",
    "DISK_ABOVE_SHARE",
    "FaissKind",
    "Kind",
    "choose_kind",
    "in_words",
    "ladder",
    "scan_parts",
]

FaissKind = Literal["flat", "pqfs", "ivf", "hnsw", "ivfpq"]
"""Those that a FAISS file holds."""

Kind = Literal["flat", "pqfs", "ivf", "hnsw", "ivfpq", "lance-ivfrq"]

DISK: Literal["lance-ivfrq"] = "lance-ivfrq"
"""The one that stays on disk (`indexer.indices.disk`)."""

DISK_ABOVE_SHARE = 0.5
"""Share of the memory above which vectors are searched from disk: they are mapped, and beside all else the system then
keeps too few of their pages for building or ranking to find them in memory."""

AUTO_EXACT_BELOW = 50_000
"""Below this many vectors an exact look-up takes some 15 ms and no index is built (scripts/bench/lookup.py)."""

AUTO_LATER_SHARE = 0.05
"""Share of rows later than the index from which "auto" builds it anew; below, they are searched exactly."""


def choose_kind(n: int, d: int, memory: int | None) -> Kind | None:
    """Index type for n vectors of d numbers; None means that exact search needs none.

    Codes of four bits for every two numbers are compared in registers (André et al. 2017, "fast scan") and take a
    sixteenth of the vectors' bytes, of which a query reads those of a few lists. They are held in memory. Vectors of
    more than `DISK_ABOVE_SHARE` of it get codes that stay on disk, if their length is one that these exist for.

    Args:
        n: Vectors.
        d: Numbers of each, four bytes.
        memory: Bytes of memory that a process may use; None where it is not known.
    """
    if n < AUTO_EXACT_BELOW:
        return None
    if memory is not None and 4 * n * d > DISK_ABOVE_SHARE * memory and d % 8 == 0:
        return DISK
    return "ivfpq" if scan_parts(d) >= d / 4 else "ivf"


def in_words(kind: str) -> str:
    """What an index is called where what look-ups use is told."""
    return f"{kind} on disk" if kind == DISK else f"FAISS {kind}"


def scan_parts(d: int) -> int:
    """Parts of equal length, two numbers or more, with a code of four bits each; few where d hardly divides."""
    return _largest_divisor(d, -(-d // 2))


def _largest_divisor(d: int, at_most: int) -> int:
    return max(m for m in range(1, max(1, at_most) + 1) if d % m == 0)


def ladder(kind: Kind, params: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Parameters of search, from the quickest to the most thorough; those of building stay.

    Args:
        kind: Of the index.
        params: As `new_index` gave them.
    """
    steps: dict[str, tuple[dict[str, int], ...]] = {
        "ivf": ({}, {"n_probe": 2}, {"n_probe": 4}, {"n_probe": 8}),
        "ivfpq": (
            {},
            {"refine": 2},
            {"refine": 2, "n_probe": 2},
            {"refine": 4, "n_probe": 2},
            {"refine": 4, "n_probe": 4},
            {"refine": 8, "n_probe": 8},
        ),
        "pqfs": ({}, {"refine": 2}, {"refine": 4}, {"refine": 8}),
        "hnsw": ({}, {"ef_search": 2}, {"ef_search": 4}),
        DISK: (
            {},
            {"n_probe": 2},
            {"n_probe": 2, "refine": 2},
            {"n_probe": 4, "refine": 2},
            {"n_probe": 8, "refine": 4},
            {"n_probe": 16, "refine": 8},
        ),
    }
    for times in steps.get(kind, ({},)):
        found = {name: value * times.get(name, 1) for name, value in params.items()}
        if "n_probe" in found:
            found["n_probe"] = min(found["n_probe"], found["n_list"])
        yield found
