"""Parts of a collection that share no group: what is held out, and nested fractions of what is left. Pure.

Groups are drawn one by one: the next is always of the class of which the smallest share of groups is drawn so far, and
among the groups of that class (or of several that are equally far behind) the first in the order of a hash of seed and
name. So every class has its part early and in proportion, and neither the order of the rows nor that of the names
decides anything: names often follow the class that they were made for.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError

__all__ = ["fraction_of", "hold_out"]


def hold_out(
    groups: Sequence[str | None], table: NDArray[np.bool_], *, share: float, seed: int = 0
) -> NDArray[np.bool_]:
    """Set whole groups aside, of every class in proportion.

    Every class keeps at least one group in the rest, so that a class of one group is never held out. Every other class
    has at least one group held out, unless it only has groups that some class cannot spare; with many rare classes
    more than `share` is therefore held out.

    Args:
        groups: Group of each row; a row without one (None or "") is never held out, and may be of a held-out group as
            far as anybody knows: use such rows for neither part.
        table: Classes of the rows, bool (n, n_classes); n_classes may be 0. A group has the classes of all its rows.
        share: Of the groups, in (0, 1).
        seed: Another seed, other groups.

    Returns:
        bool (n,), True where held out; all False where no group can be spared. Does not depend on the rows' order.

    Raises:
        InputError: If `share` is out of range or lengths differ.
    """
    if not 0 < share < 1:
        message = f"share {share} to hold out: inside (0, 1) needed"
        raise InputError(message)
    codes, names, has = _by_group(groups, table, None)
    n = max(1, round(share * len(names)))
    drawn = _draw(has, _hashed(names, f"hold out {seed}"), n, keep_one=True)
    return np.isin(codes, drawn)


def fraction_of(
    groups: Sequence[str | None],
    table: NDArray[np.bool_],
    *,
    fraction: float,
    seed: int = 0,
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """A share of the groups, of every class in proportion, that contains every smaller one of the same seed.

    Args:
        groups: Group of each row; rows without one (None or "") are in no fraction.
        table: Classes of the rows, bool (n, n_classes); n_classes may be 0.
        fraction: Of the groups, in (0, 1]; 1 is all of them. It is rounded to whole groups, and up to one group of
            each class.
        seed: Another seed, other groups.
        among: bool (n,), rows to draw from; None draws from all.

    Returns:
        bool (n,), whole groups as far as they are in `among`. Does not depend on the rows' order.

    Raises:
        InputError: If `fraction` is out of range or lengths differ.
    """
    if not 0 < fraction <= 1:
        message = f"fraction {fraction}: in (0, 1] needed"
        raise InputError(message)
    codes, names, has = _by_group(groups, table, among)
    drawn = _draw(has, _hashed(names, f"fraction {seed}"), round(fraction * len(names)), keep_one=False)
    return np.isin(codes, drawn)


def _by_group(
    groups: Sequence[str | None], table: NDArray[np.bool_], among: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], list[str], NDArray[np.bool_]]:
    """Group number of each row (-1 for none), names of the groups, and their classes with "none of them" as one more.

    Raises:
        InputError: If lengths differ.
    """
    if table.ndim != 2 or len(table) != len(groups) or (among is not None and among.shape != (len(groups),)):
        message = f"{len(groups)} groups for a table of shape {table.shape}: one a row needed"
        raise InputError(message)
    used = [name or None for name in groups]
    if among is not None:
        used = [name if there else None for name, there in zip(used, among.tolist(), strict=True)]
    names = sorted({name for name in used if name is not None})
    place = {name: number for number, name in enumerate(names)}
    codes = np.fromiter((-1 if name is None else place[name] for name in used), dtype=np.int64, count=len(used))
    has = np.zeros((len(names), table.shape[1] + 1), dtype=np.bool_)
    rows, classes = np.nonzero(table & (codes >= 0)[:, None])
    has[codes[rows], classes] = True
    has[:, -1] = ~has.any(axis=1)
    return codes, names, has


def _hashed(names: Sequence[str], salt: str) -> NDArray[np.int64]:
    """Groups in the order of a hash of salt and name."""

    def digest(number: int) -> bytes:
        text = f"{salt}\x00{names[number]}"
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    return np.array(sorted(range(len(names)), key=digest), dtype=np.int64)


def _draw(has: NDArray[np.bool_], order: NDArray[np.int64], n: int, *, keep_one: bool) -> NDArray[np.int64]:
    """Draw groups as the module says, until there are `n` and one of every class that can give one.

    The draws for a smaller `n` are the first of those for a larger one.

    Args:
        has: Classes of the groups, bool (n_groups, n_classes).
        order: The groups in hashed order.
        n: How many.
        keep_one: Leave a group of every class.

    Returns:
        Group numbers, in the order drawn.
    """
    totals = has.sum(axis=0)
    queues = [order[has[order, c]] for c in range(has.shape[1])]
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    at = np.zeros(len(queues), dtype=np.int64)
    taken, gone = np.zeros(len(queues), dtype=np.int64), np.zeros(len(order), dtype=np.bool_)
    kept = int(keep_one)

    def front(c: int) -> int | None:
        # what cannot be spared now never can later, so that no queue is looked at twice
        while at[c] < len(queues[c]):
            group = int(queues[c][at[c]])
            if not gone[group] and (totals - taken)[has[group]].min() > kept:
                return group
            at[c] += 1
        return None

    drawn: list[int] = []
    while True:
        fronts: dict[int, int] = {c: group for c in range(len(queues)) if (group := front(c)) is not None}
        if not fronts or (len(drawn) >= n and all(taken[c] for c in fronts)):
            return np.array(drawn, dtype=np.int64)
        behind = min(_progress(taken, totals, c) for c in fronts)
        group = min((g for c, g in fronts.items() if _progress(taken, totals, c) == behind), key=rank.__getitem__)
        drawn.append(group)
        gone[group] = True
        taken[has[group]] += 1


def _progress(taken: NDArray[Any], totals: NDArray[Any], c: int) -> float:
    """Share of the groups of a class that is drawn."""
    return float(taken[c] / totals[c])
