"""The search of a sweep: neighbors of some rows after the others, of which only the votes are kept. Pure.

The neighbors of all rows at the largest k would be larger than the vectors. So a few thousand rows are searched, vote
at every k, and their neighbors are dropped; rows of a unit are never apart, since their votes are aggregated.
"""

import itertools
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.exact import Tally
from locatlas.query.exclude import encode_names
from locatlas.query.sweep_rows import Rows, Units
from locatlas.query.sweep_votes import VoteRule, empty_predictions, predict
from locatlas.query.threads import n_cores
from locatlas.query.vote import Weights
from locatlas.query.within import within_blocks

__all__ = ["Asked", "Voted", "search_and_vote"]

_ROWS_A_CORE = 8192
"""Rows searched together, at the least: 20 MB of neighbors at k = 200. Of fewer, threads would often wait."""

Voted = tuple[NDArray[Any], dict[int, NDArray[np.float64]]]
"""What is predicted at each k and the scores that were kept, as `sweep_votes.predict` returns them."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Asked:
    """Who asks, and whom nobody may meet.

    Attributes:
        asking: Rows that are asked, bool (n,).
        blocks: Code of what each row must not meet, its fold or group, int64 (n,), >= 0.
        block: What a block is, for messages.
        groups: Group of each row, int64 (n,).
        together: As `groups`, those that share a unit being one.
        further: Further names by kind, one for each row that was given.
        units: Units of the asked rows; None evaluates rows.
    """

    asking: NDArray[np.bool_]
    blocks: NDArray[np.int64]
    block: str
    groups: NDArray[np.int64]
    together: NDArray[np.int64]
    further: Mapping[str, Sequence[Hashable | None]]
    units: Units | None


def search_and_vote(
    rows: Rows,
    asked: Asked,
    ks: list[int],
    kinds: Sequence[Weights],
    rule: VoteRule,
    *,
    keep: Collection[int],
    device: str,
    tally: Tally,
) -> dict[Weights, Voted]:
    """What is predicted at every k by each rule of voting.

    Args:
        rows: The chosen rows.
        asked: Which of them ask.
        ks: Ascending.
        kinds: Weights of the votes.
        rule: What votes become.
        keep: Those of `ks` at which the scores are wanted, too.
        device: Where products run.
        tally: Is told by which products the queries were answered.

    Returns:
        For the asked rows in their order, or the units.

    Raises:
        InputError: If some row has fewer than max(ks) references, or as `sweep_votes.predict`.
    """
    k, asking = ks[-1], np.flatnonzero(asked.asking)
    _check_largest(rows, asked, k)
    n, n_classes = len(asking) if asked.units is None else len(asked.units.names), rows.table.shape[1]
    out = {kind: empty_predictions(n, n_classes, ks, rule, keep) for kind in kinds}
    codes = [encode_names([names[row] for row in rows.chosen])[0] for names in asked.further.values()]
    blocks = _blocks(asked, asking)
    n_met = np.empty(len(asking), dtype=np.int64)
    found = within_blocks(
        rows.prepared,
        [asking[places] for places in blocks],
        k=k,
        exclude=[asked.blocks, *codes],
        alike=asked.groups,
        device=device,
        tally=tally,
    )
    short = False
    for places, neighbors in zip(blocks, found, strict=True):
        n_met[places] = (neighbors.indices >= 0).sum(axis=1)
        short = short or bool(n_met[places].min() < k)
        if short:  # it will be refused, and by the row that meets the fewest
            continue
        local, where = (None, places) if asked.units is None else asked.units.of(places)
        for kind, (predicted, kept) in out.items():
            predicted[:, where], scores = predict(neighbors, rows.table, ks, kind, rule, local, keep=keep)
            for step, those in scores.items():
                kept[step][where] = those
    if short:
        _refuse(rows, asked, k, least=rows.ids[int(asking[n_met.argmin()])], n_met=int(n_met.min()))
    return out


def _blocks(asked: Asked, asking: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Places among the asking that are searched together: alike ones, and all of a unit, in ascending order."""
    unit = np.full(len(asking), -1) if asked.units is None else asked.units.of_row
    together, block = asked.together[asking], asked.blocks[asking]
    first = np.full(int(together.max()) + 1, int(block.max()))
    np.minimum.at(first, together, block)  # all of a unit are of one fold, but may be of several groups
    order = np.lexsort((unit, together, first[together]))
    mine = unit[order]
    ends = np.flatnonzero(np.append((mine[1:] != mine[:-1]) | (mine[1:] < 0), True)) + 1
    cuts = [0]
    while cuts[-1] < len(order):
        at = int(np.searchsorted(ends, cuts[-1] + _ROWS_A_CORE * n_cores()))
        cuts.append(int(ends[min(at, len(ends) - 1)]))
    return [order[low:high] for low, high in itertools.pairwise(cuts)]


def _check_largest(rows: Rows, asked: Asked, k: int) -> None:
    """Refuse a k that the largest block rules out, before anything is searched."""
    n, kind = len(rows.ids), _kind(asked)
    largest = int(np.bincount(asked.blocks)[asked.blocks[asked.asking]].max())
    if k > n - largest:
        message = (
            f"k = {k} is too large: of n = {n} {kind} rows a query of the largest {asked.block} ({largest} rows) "
            f"has {n - largest} references{_at_most(n - largest)}{_several(rows)}"
        )
        raise InputError(message)


def _refuse(rows: Rows, asked: Asked, k: int, *, least: str, n_met: int) -> None:
    message = (
        f"k = {k} is too large: of n = {len(rows.ids)} {_kind(asked)} rows {least!r} may meet only "
        f"{n_met}{_at_most(n_met)}{_several(rows)}"
    )
    raise InputError(message)


def _kind(asked: Asked) -> str:
    return "evaluated" if asked.asking.all() else "voting"


def _at_most(k: int) -> str:
    return f"; use at most {k}" if k else ""


def _several(rows: Rows) -> str:
    """Why there are so few, where that is why."""
    n = rows.left_out.get("several labels", 0)
    return f"; {n} rows with several labels were left out, which labels 'multi' takes" if n else ""
