"""How much images of proteins of an atlas resemble each other: for one answer, and as a table. Reads the store."""

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store.tables import Store
from locatlas.query.answers.aggregate import DEFINITIONS as TOGETHER
from locatlas.query.answers.classify import Vote
from locatlas.query.answers.classify_units import Together, classify_units
from locatlas.query.answers.tables import context, with_context
from locatlas.query.asking.scope import Scope, Seen, look
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from locatlas.query.scores import average_precision
from locatlas.query.scores.average_precision import DEFINITIONS as PRECISIONS
from locatlas.query.scores.cohesion import Cohesion, Comparable, cohesion_among
from locatlas.query.scores.similarity import DEFINITIONS, in_words

__all__ = ["SORTS", "Sort", "protein_table", "similarity_context"]

Sort = Literal["protein", "within", "auc", "heterogeneity"]
SORTS = ("protein", "within", "auc", "heterogeneity")

CONTEXT_PAIRS = 1 << 20
"""Pairs between up to which an answer takes all, so that it does not wait for them."""


_SCHEMA = pa.schema(
    [
        ("protein", pa.string()),
        ("n_fovs", pa.int64()),
        ("n_cells", pa.int64()),
        ("localizations", pa.list_(pa.string())),
        ("n_images", pa.int64()),
        ("n_within", pa.int64()),
        ("within", pa.float64()),
        ("n_between", pa.int64()),
        ("between", pa.float64()),
        ("between_sd", pa.float64()),
        ("auc", pa.float64()),
        ("same_plate_within", pa.float64()),
        ("same_plate_between", pa.float64()),
        ("heterogeneity", pa.float64()),
        ("entropy", pa.float64()),
        ("map", pa.float64()),
        ("map_normalized", pa.float64()),
        ("map_p", pa.float64()),
        ("map_p_fdr", pa.float64()),
    ]
)
_UNKNOWN = dict.fromkeys(("heterogeneity", "entropy", *PRECISIONS))


_IN_ORDER: WeakKeyDictionary[View, Comparable] = WeakKeyDictionary()
"""The images of views that are loaded, in order: to find it takes longer than to compare one protein with the rest."""


def _in_order(view: View) -> Comparable:
    plates = view.names("plate") if "plate" in view.meta.column_names else None
    known = plates is not None and any(plates)
    return Comparable.of(view.prepared, view.names("protein"), view.names("fov"), plates if known else None)


def _compared(view: View, **how: Any) -> Cohesion:
    if (among := _IN_ORDER.get(view)) is None:
        among = _IN_ORDER[view] = _in_order(view)
    return cohesion_among(among, **how)


def similarity_context(seen: Seen, protein: str) -> dict[str, Any]:
    """Whether neighbors of a protein mean anything: its images among themselves against those of others.

    Args:
        seen: What was looked at; images of others are those that pass the filters.
        protein: The queried one.

    Returns:
        The numbers of `similarity.Similarity`, `of` (image level), `definitions`, `sampled` (what was drawn) and
        `said`, one line.
    """
    view = seen.loaded.view
    if seen.passing is not None:
        own = np.array([name == protein for name in view.column("protein")], dtype=np.bool_)
        view = view.take(np.flatnonzero(seen.passing | own))
    found = _compared(view, of=[protein], max_between=CONTEXT_PAIRS)
    one = found.of[protein]
    return {
        "of": view.level,
        **one.to_dict(),
        "said": in_words(protein, one, view.level),
        "sampled": found.notes(),
        "definitions": DEFINITIONS,
    }


def protein_table(
    shelf: Shelf,
    scope: Scope,
    *,
    k: int | None = None,
    exclude: str = "protein",
    sort: Sort = "protein",
    worst_first: bool = False,
    mean_average_precision: bool = False,
    seed: int = 0,
) -> pa.Table:
    """One row a protein.

    Args:
        shelf: What is loaded.
        scope: Which images are compared; its level is that of these images.
        k: Neighbors that vote on each cell, to tell how much the cells of a protein differ; None leaves this out.
        exclude: What a cell must not meet when it is voted on.
        sort: By name, or by a number: highest `within` or `auc` first, lowest `heterogeneity` first.
        worst_first: The other way round. Proteins of which the number is unknown come last either way.
        mean_average_precision: Add mAP with p, which needs copairs.
        seed: Of what is drawn where pairs are too many, and of the random rankings of mAP.

    Raises:
        UnknownNameError: If `sort` or something in the scope is unknown.
        InputError: If no image has a protein, the cells cannot be voted on, or as
            `average_precision.mean_average_precision`.
    """
    if sort not in SORTS:
        raise UnknownNameError("order", sort, SORTS)
    if sort == "heterogeneity" and k is None:
        message = "heterogeneity is that of the votes on cells: k, the number of neighbors that vote, needed"
        raise InputError(message)
    if mean_average_precision:
        average_precision.check_copairs()
    seen = look(shelf, scope, Subject())
    view = seen.view if seen.allowed is None else seen.view.take(np.flatnonzero(seen.allowed))
    found = _compared(view, seed=seed)
    if not found.of:
        message = f"none of the {len(view)} images at level {view.level} has a protein"
        raise InputError(message)
    votes, notes = ({}, []) if k is None else _heterogeneity(shelf, scope, k, exclude)
    counts, labels = _counts(shelf.store), _labels(view)
    names = view.names("protein")
    precise = (
        average_precision.mean_average_precision(view.vectors, names, view.names("fov"), seed=seed)
        if mean_average_precision
        else {}
    )
    rows = [
        {"protein": name, **counts[name], "localizations": labels[name], **one.to_dict(),
         **_UNKNOWN, **votes.get(name, {}), **(precise[name].to_dict() if name in precise else {})}
        for name, one in found.of.items()
    ]  # fmt: skip
    known = [row for row in rows if row[sort] is not None]
    # Python's sort is stable: equal numbers stay in the order of names
    known.sort(key=lambda row: row[sort], reverse=worst_first is (sort in ("protein", "heterogeneity")))
    table = pa.Table.from_pylist(known + [row for row in rows if row[sort] is None], schema=_SCHEMA)
    return with_context(
        table,
        of=view.level,
        **{name: said for name, said in seen.said().items() if name in ("label_source", "encoder")},
        k=k,
        sort=sort,
        worst_first=worst_first,
        overall=found.overall.to_dict(),
        definitions=DEFINITIONS | {name: TOGETHER[name] for name in ("heterogeneity", "entropy")} | PRECISIONS,
        notes=list(dict.fromkeys(seen.notes(found.notes(), _no_pairs(view, found), notes))),
    )


def _no_pairs(view: View, found: Cohesion) -> list[str]:
    """Why nothing can be said of any protein, where none has two known fields."""
    fields = {pair for pair in zip(view.names("protein"), view.names("fov"), strict=True) if None not in pair}
    if found.overall.n_within or found.n_unknown_fov or len(fields) > len({name for name, _ in fields}):
        return []
    return ["every protein has images of one field only: without pairs of two fields, within and AUC are unknown"]


def _heterogeneity(shelf: Shelf, scope: Scope, k: int, exclude: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Heterogeneity and entropy of the votes on each protein's cells, and what a reader must know of them."""
    cells = replace(scope, level="cell")
    table = classify_units(shelf, Subject(), cells, Vote(k=k, exclude=exclude), Together(by="protein"))
    notes = context(table)["notes"] if scope.level != "cell" else []
    return {
        unit["id"]: {name: unit[name] for name in ("heterogeneity", "entropy")} for unit in table.to_pylist()
    }, notes


def _labels(view: View) -> dict[str, list[str]]:
    joined: dict[str, set[str]] = defaultdict(set)
    for name, own in zip(view.names("protein"), view.localizations, strict=True):
        if name is not None:
            joined[name] |= own
    return {name: sorted(own) for name, own in joined.items()}


def _counts(store: Store) -> dict[str, dict[str, int]]:
    """Fields and cells of each protein in the atlas, with a vector or without."""
    fovs: dict[str, set[str]] = defaultdict(set)
    n_cells: Counter[str] = Counter()
    for row in store.read("fovs", ["id", "protein"]).to_pylist():
        fovs[row["protein"]].add(row["id"])
    for row in store.read("cells", ["protein", "fov_id"]).to_pylist():
        n_cells[row["protein"]] += 1
        fovs[row["protein"]] |= {row["fov_id"]} - {None}
    return {name: {"n_fovs": len(fovs[name]), "n_cells": n_cells[name]} for name in fovs.keys() | n_cells.keys()}
