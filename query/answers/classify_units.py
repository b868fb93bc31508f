"""The answer of `classify --by`: where fields or proteins are localized, by their cells' votes. Reads the store."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.answers import tables as answers
from locatlas.query.answers.aggregate import DEFAULT_TOP, DEFINITIONS, How, aggregate, check_how
from locatlas.query.answers.classify import Vote
from locatlas.query.answers.localize import Ballot, cast
from locatlas.query.answers.notes import beyond_filters, mixed_vocabularies, shares_above_one
from locatlas.query.answers.vote import predict_multi, predict_single
from locatlas.query.asking.gene_ids import by_symbol
from locatlas.query.asking.leakage import training_notes
from locatlas.query.asking.lookup import Queries
from locatlas.query.asking.scope import Scope, Seen, look
from locatlas.query.asking.selection import known_groups
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject, rows_of
from locatlas.query.scores.protocols import hashed_order

__all__ = ["Together", "check_cells", "classify_units"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """How the votes of cells are put together.

    Attributes:
        by: What a unit is: "fov", "protein", or another column of names.
        how: `mean`, `majority` or `top`.
        top: Share of the most confident cells, with `top`.
    """

    by: str
    how: How = "mean"
    top: float = DEFAULT_TOP

    def __post_init__(self) -> None:
        check_how(self.how, self.top)

    @classmethod
    def named(cls, by: str | None, how: How | None, top: float | None) -> "Together | None":
        """As a user says it; None where nothing is put together.

        Raises:
            UnknownNameError: If `how` is unknown.
            InputError: If `how` or `top` is given where it decides nothing, or `top` is out of range.
        """
        if (by is None and how is not None) or (top is not None and (by is None or how != "top")):
            message = "how and top say how the votes of cells are put together: how needs by, and top needs how 'top'"
            raise InputError(message)
        return None if by is None else cls(by=by, how=how or "mean", top=DEFAULT_TOP if top is None else top)


def check_cells(scope: Scope, by: str) -> Scope:
    """The scope at level cell, which is what is put together.

    Raises:
        InputError: If another level is named.
    """
    if scope.level not in (None, "cell"):
        message = f"by {by!r} puts the votes of cells together: level cell needed, not {scope.level}"
        raise InputError(message)
    return replace(scope, level="cell")


def classify_units(shelf: Shelf, subject: Subject, scope: Scope, vote: Vote, together: Together) -> pa.Table:
    """One row a unit, by name.

    Args:
        shelf: What is loaded.
        subject: A protein, a unit by its name, or everything that passes the filters.
        scope: Who votes.
        vote: How on each cell.
        together: How the cells' votes are put together.

    Raises:
        UnknownNameError: If something named is not in the atlas.
        InputError: If the level is not that of cells, no cell has a unit, k does not fit or nothing may vote.
    """
    scope = check_cells(scope, together.by)
    subject = by_symbol(subject, scope.image_views(shelf))
    seen = look(shelf, scope, Subject())
    rows, names = _cells(seen, subject, together.by)
    queries = Queries.from_rows(seen.view, rows)
    settled = vote.settled(seen)
    ballot = cast(queries, seen.view, **settled.how(seen))
    units = sorted({name for name in names if name is not None})
    place = {name: number for number, name in enumerate(units)}
    of_cell = np.array([-1 if name is None else place[name] for name in names], dtype=np.int64)
    items = _items(queries, ballot, units, of_cell, settled.number(seen), vote.threshold, together)
    return answers.units_table(
        items,
        by=together.by,
        how=together.how,
        top=together.top if together.how == "top" else None,
        n_classes=len(ballot.classes),
        definitions={name: DEFINITIONS[name] for name in (together.how, "heterogeneity", "entropy")},
        exact=ballot.exact,
        **settled.said(),
        **seen.said(),
        notes=seen.notes(
            subject.notes(seen.loaded),
            beyond_filters(seen.passing, rows, "cells put together"),
            training_notes(shelf.store, seen.loaded.encoder.spec, seen.view, queries.names, seen.loaded.view),
            _notes(seen, ballot, units, of_cell, together.by),
            shares_above_one((one["score"] for one in item["scores"]) for item in items),
            mixed_vocabularies(seen.view, seen.allowed),
        ),
    )


def _cells(seen: Seen, subject: Subject, by: str) -> tuple[NDArray[np.int64], list[str | None]]:
    """Rows of the cells in question and their units."""
    view = seen.view
    units = view.names(by)
    if all(name is None for name in units):
        message = f"{by} is unknown for all {len(view)} cells; columns that are known: {known_groups(view)}"
        raise InputError(message)
    if subject.image:
        message = f"by {by!r} puts the votes of cells of the atlas together; a new image has none"
        raise InputError(message)
    if subject.protein is not None:
        rows = rows_of(view, "protein", subject.protein)
    elif subject.id is not None:
        rows = rows_of(view, by, subject.id)
    else:
        rows = np.arange(len(view)) if seen.allowed is None else np.flatnonzero(seen.allowed)
    return rows, [units[row] for row in rows]


def _items(
    queries: Queries,
    ballot: Ballot,
    units: list[str],
    of_cell: NDArray[np.int64],
    k: int,
    threshold: float,
    together: Together,
) -> list[dict[str, Any]]:
    """Rows of the answer, in the order of the units."""
    tops = predict_single(ballot.scores, ballot.neighbors, ballot.labels, k=k)
    order = hashed_order(queries.names)
    found = aggregate(
        ballot.scores[order], tops[order], of_cell[order], n_units=len(units), how=together.how, top=together.top
    )
    called = predict_multi(found.scores, threshold=threshold, top_if_none=True)
    proteins: dict[int, set[str | None]] = defaultdict(set)
    labels: dict[int, set[str]] = defaultdict(set)
    for unit, protein, own in zip(of_cell.tolist(), queries.column("protein"), queries.localizations, strict=True):
        proteins[unit].add(protein)
        labels[unit] |= own
    items: list[dict[str, Any]] = []
    for i, name in enumerate(units):
        ranked = [int(c) for c in np.argsort(-found.scores[i], kind="stable") if found.scores[i, c] > 0]
        scores = [{"localization": ballot.classes[c], "score": float(found.scores[i, c])} for c in ranked]
        silent = not found.n[i]
        items.append(
            {
                "id": name,
                "protein": next(iter(proteins[i])) if len(proteins[i]) == 1 else None,
                "n_cells": int(found.n[i]),
                "n_silent": int(found.n_silent[i]),
                "annotated": sorted(labels[i]),
                "predicted": [score for c, score in zip(ranked, scores, strict=True) if called[i, c]],
                "top": None if silent else ballot.classes[found.top[i]],
                "scores": scores,
                "votes": [
                    {"localization": ballot.classes[c], "cells": int(found.counts[i, c])}
                    for c in np.argsort(-found.counts[i], kind="stable")
                    if found.counts[i, c]
                ],
                "heterogeneity": None if silent else float(found.heterogeneity[i]),
                "entropy": None if silent else float(found.entropy[i]),
            }
        )
    return items


def _notes(seen: Seen, ballot: Ballot, units: list[str], of_cell: NDArray[np.int64], by: str) -> list[str]:
    """Cells that have no unit or no vote, and units whose own cells voted on each other."""
    notes = []
    if without := int((of_cell < 0).sum()):
        notes.append(f"{without} cells have no {by} and are left out")
    indices = ballot.neighbors.indices
    if silent := int(((indices >= 0).sum(axis=1) == 0)[of_cell >= 0].sum()):
        notes.append(f"{silent} cells had no labelled neighbor left to vote, and say nothing")
    place = {name: number for number, name in enumerate(units)}
    of_voter = np.array([place.get(name, -1) if name is not None else -1 for name in seen.view.names(by)])
    own = (indices >= 0) & (of_voter[indices] == of_cell[:, None]) & (of_cell >= 0)[:, None]
    if own.any():
        share = own.sum() / (indices >= 0).sum()
        notes.append(
            f"{share:.0%} of the voting cells are of the {by} that they vote on; --exclude {by} leaves them out"
        )
    return notes
