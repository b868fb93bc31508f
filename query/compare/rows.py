"""The rows that two encoders have in common, and which of them are scored. Reads the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.asking.leakage import Overlap, Part, training_overlap
from locatlas.query.asking.profiles import by_protein
from locatlas.query.asking.scope import Scope, Seen
from locatlas.query.asking.selection import known_groups
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.view import View
from locatlas.query.scores.protocols import hashed_order
from locatlas.query.search.exclude import encode_names
from locatlas.query.search.unit import norms

__all__ = ["CommonRows", "common_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class CommonRows:
    """The rows that both encoders have, in hashed order of their ids; vectors by one never meet those by the other.

    Attributes:
        new: By the new encoder.
        old: The same rows by the old one.
        groups: Group of each row.
        asking: Rows that are scored, bool (n,).
        left_out: Rows that take no part, by reason.
        trained_on: What each encoder was trained on of them, "new" and "old".
        notes: What a reader must know.
    """

    new: View
    old: View
    groups: list[str]
    asking: NDArray[np.bool_]
    left_out: dict[str, int]
    trained_on: dict[str, Any]
    notes: list[str]

    @property
    def codes(self) -> NDArray[np.int64]:
        """Groups as numbers, int64 (n,)."""
        return encode_names(self.groups)[0]


def common_rows(shelf: Shelf, new: Seen, old: Seen, scope: Scope, *, group: str, part: Part) -> CommonRows:
    """What both have, with a group and a direction, and what of it is scored.

    Raises:
        InputError: If that is nothing.
    """
    pair, left_out = _joined(new, old)
    if scope.level == "protein":
        pair = [by_protein(view, scope.profile or "mean") for view in pair]
    overlaps = [_overlap(shelf, seen, view, group) for seen, view in zip((new, old), pair, strict=True)]
    groups = overlaps[0].groups
    grouped = np.fromiter((bool(name) for name in groups), dtype=np.bool_, count=len(groups))
    directed = (norms(pair[0].vectors) > 0) & (norms(pair[1].vectors) > 0)
    for reason, lost in (("no group", ~grouped), ("zero vector", grouped & ~directed)):
        left_out |= {reason: int(lost.sum())} if lost.any() else {}
    kept = np.flatnonzero(grouped & directed)
    if not len(kept):
        message = (
            f"no row to compare among {len(groups)} that both encoders have: group {group!r} is unknown or vectors "
            f"are zero; groups that are known: {known_groups(pair[0])}"
        )
        raise InputError(message)
    order = kept[hashed_order([pair[0].ids[row] for row in kept])]
    views, overlaps = [view.take(order) for view in pair], [overlap.take(order) for overlap in overlaps]
    every = np.ones(len(order), dtype=np.bool_)
    asking = _scored(overlaps, every, part)
    notes = list(dict.fromkeys([*new.notes(), *old.notes(), *overlaps[0].notes, *overlaps[1].notes]))
    if new.loaded.encoder.fingerprint == old.loaded.encoder.fingerprint:
        notes.append(f"{new.loaded.encoder.spec.name} is compared with itself")
    said = [overlap.said(every, part, chosen=asking) for overlap in overlaps]
    return CommonRows(
        new=views[0],
        old=views[1],
        groups=[str(name) for name in overlaps[0].groups],
        asking=asking,
        left_out=left_out,
        trained_on={"new": said[0], "old": said[1]},
        notes=notes,
    )


def _joined(new: Seen, old: Seen) -> tuple[list[View], dict[str, int]]:
    """The rows that pass the filters and that both have, by id, and how many only one has."""
    ids = [
        [
            seen.view.ids[row]
            for row in (range(len(seen.view)) if seen.allowed is None else np.flatnonzero(seen.allowed))
        ]
        for seen in (new, old)
    ]
    both = sorted(set(ids[0]) & set(ids[1]))
    if not both:
        names = " and ".join(seen.loaded.encoder.spec.name for seen in (new, old))
        message = f"{names} have no row in common at level {new.view.level}: embed the same images by both"
        raise InputError(message)
    pair = []
    for seen in (new, old):
        place = {name: row for row, name in enumerate(seen.view.ids)}
        pair.append(seen.view.take(np.array([place[name] for name in both], dtype=np.int64)))
    only = {
        f"only by the {which} encoder": len(mine) - len(both)
        for which, mine in zip(("new", "old"), ids, strict=True)
        if len(mine) > len(both)
    }
    return pair, only


def _overlap(shelf: Shelf, seen: Seen, view: View, group: str) -> Overlap:
    """What an encoder was trained on of the compared rows, told from all images that it has vectors of."""
    spec, images = seen.loaded.encoder.spec, seen.loaded.view
    if view.level == "protein":
        return training_overlap(shelf.store, spec, view, group, images=images)
    whole = training_overlap(shelf.store, spec, images, group)
    place = {name: row for row, name in enumerate(images.ids)}
    return whole.take(np.array([place[name] for name in view.ids], dtype=np.int64))


def _scored(overlaps: Sequence[Overlap], every: NDArray[np.bool_], part: Part) -> NDArray[np.bool_]:
    """Rows that are scored: those that neither encoder was trained on, where these are held out.

    Raises:
        LeakageError: If there are none, or as `Overlap.choose`.
    """
    chosen = every
    for overlap in overlaps:
        chosen = overlap.choose(chosen, part)
    return chosen
