"""Which of many names somebody may have meant. Pure; of a million names it takes a fraction of a second."""

import difflib
from bisect import bisect_left
from collections.abc import Iterator, Sequence

__all__ = ["near_names"]

COMPARED = 2_000
"""Names that are compared letter by letter; of more, those that stand beside the name or share a piece of it."""

_CUTOFF = 0.6
"""As `difflib.get_close_matches` has it: twice the letters in common over the letters of both."""

_PIECES = 3
"""A name with a slip or two has one of so many pieces whole."""

_BETWEEN = "\0"


def near_names(name: str, known: Sequence[str], n: int = 3) -> list[str]:
    """The names that are spelled most alike, whatever their case; those that the name begins first, then the best.

    Args:
        name: What was written.
        known: The names that there are, ascending.
        n: Most names.
    """
    wanted = name.casefold()
    chosen = known if len(known) <= COMPARED else [known[i] for i in _candidates(wanted, name, known)]
    by_spelling: dict[str, list[str]] = {}
    for one in chosen:
        by_spelling.setdefault(one.casefold(), []).append(one)
    begun = sorted((one for one in by_spelling if wanted and one.startswith(wanted)), key=len)[:n]
    close = difflib.get_close_matches(wanted, list(by_spelling), n=n, cutoff=_CUTOFF)
    return [one for spelling in dict.fromkeys([*begun, *close]) for one in by_spelling[spelling]][:n]


def _candidates(wanted: str, name: str, known: Sequence[str]) -> list[int]:
    """Places of names beside the name in the alphabet, then of those with a piece of it, the rarest piece first."""
    at, half = bisect_left(known, name), COMPARED // 20
    found = dict.fromkeys(range(max(0, at - half), min(len(known), at + half)))
    text = _BETWEEN.join(known).casefold()
    size = max(2, -(-len(wanted) // _PIECES))
    pieces = {wanted[start : start + size] for start in range(0, len(wanted), size)} | {wanted[-size:]}
    for places in sorted((list(_having(piece, text)) for piece in pieces if len(piece) > 1), key=len):
        found |= dict.fromkeys(places[: COMPARED - len(found)])
    return list(found)


def _having(piece: str, text: str) -> Iterator[int]:
    """Places of the first names with a piece inside, as many as are compared at most."""
    place, counted, at = 0, 0, text.find(piece)
    for _ in range(COMPARED):
        if at < 0:
            return
        place += text.count(_BETWEEN, counted, at)
        yield place
        counted = at
        after = text.find(_BETWEEN, at)
        at = -1 if after < 0 else text.find(piece, after)
