"""Which rows a sweep evaluates, and the units (fields, proteins) that rows are put together to. Pure."""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.scores.protocols import LabelMode, encode_labels, hashed_order
from locatlas.query.search.exclude import encode_names
from locatlas.query.search.unit import Prepared, check_vectors, norms

__all__ = ["Rows", "Units", "asking_rows", "choose_rows", "choose_units"]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows that are evaluated, in hashed order of their ids, so that no tie follows their names.

    Attributes:
        prepared: Their vectors, not copied.
        table: Their classes, bool (n, n_classes).
        classes: Sorted by name; each is that of some row.
        groups: Group of each row.
        ids: Ids.
        chosen: Their places among the rows that were given.
        left_out: Rows that are not evaluated, by reason.
    """

    prepared: Prepared
    table: NDArray[np.bool_]
    classes: tuple[str, ...]
    groups: list[str]
    ids: list[str]
    chosen: NDArray[np.int64]
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """What rows are put together to, and what the unit's label is.

    Attributes:
        names: Of the evaluated units, in hashed order.
        of_row: Unit of each evaluated row, int64 (n_rows,); -1 where the row is of none that is evaluated.
        table: Classes of the units, bool (n_units, n_classes).
        left_out: What is not evaluated, by reason.
    """

    names: tuple[str, ...]
    of_row: NDArray[np.int64]
    table: NDArray[np.bool_]
    left_out: dict[str, int]

    def asked(self, asking: NDArray[np.bool_], *, by: str) -> Self:
        """The units all of whose rows are asked, of these rows; those of which some are, are left out and counted.

        Args:
            asking: Rows that are asked, bool (n_rows,).
            by: What a unit is, for the record.

        Raises:
            InputError: If no unit is left.
        """
        n = len(self.names)
        there = self.of_row >= 0
        n_rows = np.bincount(self.of_row[there], minlength=n)
        n_asked = np.bincount(self.of_row[there & asking], minlength=n)
        whole = n_asked == n_rows
        if not whole.any():
            message = f"no {by} to evaluate: of none all rows are among those that are asked"
            raise InputError(message)
        place = np.where(whole, np.cumsum(whole) - 1, -1)
        of_row = np.where(there, place[self.of_row], -1)[asking]
        in_part = int(((n_asked > 0) & ~whole).sum())
        return type(self)(
            names=tuple(name for name, kept in zip(self.names, whole, strict=True) if kept),
            of_row=of_row,
            table=self.table[whole],
            left_out=self.left_out | ({f"{by} of which only some rows are asked": in_part} if in_part else {}),
        )

    def of(self, places: NDArray[np.int64]) -> tuple[Self, NDArray[np.int64]]:
        """The units of some rows, which are all rows of these units, and which of the units these are.

        Args:
            places: Rows, in ascending order within a unit.
        """
        mine = self.of_row[places]
        which = np.unique(mine[mine >= 0])
        local = np.where(mine >= 0, np.searchsorted(which, mine), -1)
        names = tuple(self.names[unit] for unit in which)
        return type(self)(names=names, of_row=local, table=self.table[which], left_out={}), which


def choose_rows(
    vectors: NDArray[Any],
    labels: Sequence[Collection[str] | None],
    groups: Sequence[str | None],
    ids: Sequence[str],
    mode: LabelMode,
    further: Mapping[str, Sequence[Hashable | None]],
) -> Rows:
    """Choose the rows to evaluate and put them in hashed order.

    Raises:
        InputError: If lengths differ, ids repeat, or nothing is left.
    """
    array = check_vectors(vectors, "vectors")
    lengths = {"labels": len(labels), "groups": len(groups), "ids": len(ids)}
    lengths |= {name: len(names) for name, names in further.items()}
    for name, length in lengths.items():
        if length != len(array):
            message = f"{length} {name} for {len(array)} vectors: one a vector needed"
            raise InputError(message)
    if len(set(ids)) != len(ids):
        message = f"id {Counter(ids).most_common(1)[0][0]!r} stands more than once"
        raise InputError(message)
    known = encode_labels(labels, mode)
    sizes = norms(array)
    left_out = dict(known.left_out)
    usable = known.usable.copy()
    grouped = np.fromiter((bool(name) for name in groups), dtype=np.bool_, count=len(groups))
    for reason, fine in (("no group", grouped), ("zero vector", sizes > 0)):
        n_lost = int((usable & ~fine).sum())
        usable &= fine
        if n_lost:
            left_out[reason] = n_lost
    kept = np.flatnonzero(usable)
    if not len(kept):
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "no rows"
        hint = "; labels 'multi' takes rows with several" if "several labels" in left_out else ""
        message = f"nothing to evaluate among {len(array)} rows: {reasons}{hint}"
        raise InputError(message)
    chosen = kept[hashed_order([ids[row] for row in map(int, kept)])]
    present: NDArray[np.bool_] = np.logical_or.reduce(known.table[chosen], axis=0)
    return Rows(
        prepared=Prepared(array, sizes[chosen], chosen),
        table=known.table[chosen][:, present],
        classes=tuple(name for name, there in zip(known.classes, present, strict=True) if there),
        groups=[str(groups[row]) for row in map(int, chosen)],
        ids=[ids[row] for row in map(int, chosen)],
        chosen=chosen,
        left_out=left_out,
    )


def asking_rows(rows: Rows, queries: Sequence[bool] | NDArray[np.bool_] | None, n: int) -> NDArray[np.bool_]:
    """Which of the chosen rows are asked; the others only vote.

    Args:
        rows: The chosen rows.
        queries: Whether each of the given rows is to be asked; None for all.
        n: Rows that were given.

    Raises:
        InputError: If there are not as many as rows, or no chosen row is asked.
    """
    if queries is None:
        return np.ones(len(rows.ids), dtype=np.bool_)
    if len(queries) != n:
        message = f"{len(queries)} queries for {n} rows: true or false for each needed"
        raise InputError(message)
    asking = np.asarray(queries, dtype=np.bool_)[rows.chosen]
    if not asking.any():
        message = f"nothing to evaluate: none of the {len(rows.ids)} labelled rows is asked, they would only vote"
        raise InputError(message)
    return asking


def choose_units(
    rows: Rows, labels: Sequence[Collection[str] | None], units: Sequence[str | None], *, by: str
) -> Units:
    """Choose the units to evaluate: those whose labelled rows all have the same label set, which is the unit's.

    Args:
        rows: The evaluated rows.
        labels: Of all rows that were given.
        units: Of all rows that were given; None has none.
        by: What a unit is, for the record.

    Raises:
        InputError: If there are not as many units as labels, or no unit can be evaluated.
    """
    if len(units) != len(labels):
        message = f"{len(units)} units ({by}) for {len(labels)} rows: one a row needed"
        raise InputError(message)
    sets: dict[str, set[frozenset[str]]] = {}
    for names, unit in zip(labels, units, strict=True):
        if unit and names:
            sets.setdefault(unit, set()).add(frozenset(names))
    mine = [units[row] for row in rows.chosen]
    there = {unit for unit in mine if unit}
    agreed = {unit for unit in there if len(sets[unit]) == 1}
    without = sum(not unit for unit in mine)
    left_out = {
        f"no {by}": without,
        f"{by} whose cells have different labels": len(there - agreed),
    }
    left_out = {reason: n for reason, n in left_out.items() if n}
    if not agreed:
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
        message = f"no {by} to evaluate among {len(rows.ids)} labelled rows: {reasons}"
        raise InputError(message)
    names_sorted = sorted(agreed)
    ordered = [names_sorted[place] for place in hashed_order(names_sorted)]
    known = [unit if unit in agreed else None for unit in mine]
    of_row, _ = encode_names(ordered + known)
    of_row = of_row[len(ordered) :]
    table = np.zeros((len(ordered), len(rows.classes)), dtype=np.bool_)
    table[of_row[of_row >= 0]] = rows.table[of_row >= 0]
    return Units(tuple(ordered), of_row, table, left_out)
