"""The search of a sweep: neighbors of some rows after the others, of which only the votes are kept. Pure.

The neighbors of all rows at the largest k would be larger than the vectors. So the threads that search hand them on by
some hundred rows, which vote at every k where they were found, and are dropped. The votes of a unit's rows are
aggregated: there the neighbors wait until those of all its rows have come.
"""

import threading
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.answers.vote import LabelSets, Weights
from locatlas.query.search.exact import Tally
from locatlas.query.search.exclude import encode_names
from locatlas.query.search.within import within_rows
from locatlas.query.sweep.rows import Rows, Units
from locatlas.query.sweep.votes import VoteRule, empty_predictions, predict
from locatlas.types import Neighbors

__all__ = ["Asked", "Voted", "search_and_vote"]

_ROWS_AT_ONCE = 128
"""Rows that vote together, at the least, where units are put together: those of whole units."""

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
    sets = LabelSets.of(rows.table)
    n_met = np.empty(len(asking), dtype=np.int32)
    place = np.cumsum(asked.asking) - 1
    short = False

    def vote(places: NDArray[np.int64], neighbors: Neighbors) -> None:
        """Rows that were found, in ascending order within a unit and all of it."""
        nonlocal short
        n_met[places] = (neighbors.indices >= 0).sum(axis=1)
        short = short or bool(n_met[places].min() < k)
        if short:  # it will be refused, and by the row that meets the fewest
            return
        local, where = (None, places) if asked.units is None else asked.units.of(places)
        for kind, (predicted, kept) in out.items():
            predicted[:, where], scores = predict(neighbors, sets, ks, kind, rule, local, keep=keep)
            for step, those in scores.items():
                kept[step][where] = those

    order, ends = _order(asked, asking)
    waiting = None if asked.units is None else _Waiting.of(order, ends, k)
    in_order = asking[order]
    del order, ends

    def take(found: NDArray[np.int64], neighbors: Neighbors) -> None:
        places = place[found]
        for ready in [(places, neighbors)] if waiting is None else waiting.add(places, neighbors):
            vote(*ready)

    within_rows(
        rows.prepared,
        in_order,
        take,
        k=k,
        exclude=[asked.blocks, *codes],
        device=device,
        tally=tally,
    )
    if short:
        _refuse(rows, asked, k, least=rows.ids[int(asking[n_met.argmin()])], n_met=int(n_met.min()))
    return out


@dataclass(slots=True, eq=False)
class _Waiting:
    """Neighbors of rows some of whose unit have not come yet.

    Attributes:
        parts: Places of the rows of whole units, ascending in each unit.
        part_of: In which of these each place is, int64 (n,), and
        at: where in it.
        k: Neighbors of a row.
    """

    parts: list[NDArray[np.int64]]
    part_of: NDArray[np.int64]
    at: NDArray[np.int64]
    k: int
    _come: dict[int, tuple[Neighbors, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, order: NDArray[np.int64], ends: NDArray[np.int64], k: int) -> "_Waiting":
        """Parts of rows in an order, which are whole units where they end."""
        cuts = [0]
        while cuts[-1] < len(order):
            cuts.append(int(ends[min(int(np.searchsorted(ends, cuts[-1] + _ROWS_AT_ONCE)), len(ends) - 1)]))
        parts = np.split(order, cuts[1:-1])
        part_of, at = np.empty(len(order), dtype=np.int64), np.empty(len(order), dtype=np.int64)
        for number, part in enumerate(parts):
            part_of[part], at[part] = number, np.arange(len(part))
        return cls(parts, part_of, at, k)

    def add(self, places: NDArray[np.int64], found: Neighbors) -> list[tuple[NDArray[np.int64], Neighbors]]:
        """Keep what was found of some rows; return the parts all of whose rows have come."""
        ready = []
        with self._lock:
            for number in np.unique(self.part_of[places]).tolist():
                mine, part = self.part_of[places] == number, self.parts[number]
                if number not in self._come:
                    shape = len(part), self.k
                    self._come[number] = Neighbors(np.empty(shape, np.int64), np.empty(shape, np.float32)), len(part)
                kept, n_left = self._come.pop(number)
                at = self.at[places[mine]]
                kept.indices[at], kept.similarities[at] = found.indices[mine], found.similarities[mine]
                n_left -= len(at)
                if n_left:
                    self._come[number] = kept, n_left
                else:
                    ready.append((part, kept))
        return ready


def _order(asked: Asked, asking: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places among the asking so that alike ones stand together, and all of a unit, ascending; where units end."""
    unit = np.full(len(asking), -1) if asked.units is None else asked.units.of_row
    together, block = asked.together[asking], asked.blocks[asking]
    first = np.full(int(together.max()) + 1, int(block.max()))
    np.minimum.at(first, together, block)  # all of a unit are of one fold, but may be of several groups
    order = np.lexsort((unit, together, first[together]))
    mine = unit[order]
    return order, np.flatnonzero(np.append((mine[1:] != mine[:-1]) | (mine[1:] < 0), True)) + 1


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
