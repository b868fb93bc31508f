"""Which rows may answer, which index may propose them, what must not meet: arguments of a question, checked. Pure."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import InputError, one_line
from locatlas.indexer.files.planes import plural
from locatlas.indexer.indices.candidates import TableIndex
from locatlas.near_names import near_names
from locatlas.query.asking.filters import Filter, apply, parse
from locatlas.query.asking.shelf import Loaded
from locatlas.query.asking.view import View
from locatlas.types import ROW

__all__ = ["Where", "allowed_rows", "check_k", "filters_of", "further_exclusions", "known_groups", "usable_index"]

Where = Sequence[str] | Mapping[str, Any]
"""Filters that all must hold: ["dataset=opencell", "pixel_size_um<0.3"], or {"dataset": "opencell"}."""


def allowed_rows(view: View, where: Where) -> NDArray[np.bool_] | None:
    """Rows that pass the filters, bool (n,); None where there are no filters.

    Raises:
        UnknownNameError: If a filter names no column.
        InputError: If no row passes.
    """
    filters = filters_of(where)
    if not filters:
        return None
    allowed = view.kept_mask(tuple(filters), lambda: apply(view.meta, filters))
    if not allowed.any():
        shown = " and ".join(one.shown for one in filters)
        message = f"no image at level {view.level} passes the filter {shown}{_meant(view, filters)}"
        raise InputError(message)
    return allowed


def _meant(view: View, filters: Sequence[Filter]) -> str:
    """Which values the filters may have meant that name one that no row has, e.g. a gene in small letters."""
    for one in filters:
        column = view.meta[one.column]
        column = pc.list_flatten(column) if pa.types.is_list(column.type) else column
        if one.op != "=" or not pa.types.is_string(column.type):
            continue
        known = sorted(pc.unique(column.drop_null()).to_pylist())
        if one.value not in known and (near := near_names(one.value, known)):
            return f"; did you mean {one.column}={' or '.join(map(one_line, near))}?"
    return ""


def filters_of(where: Where) -> list[Filter]:
    """Filters as given by a user, parsed; in NFC, as names and values are in the atlas."""
    if isinstance(where, Mapping):
        given = [Filter(column, "=", value) for column, value in where.items()]
    else:
        given = [parse(text) for text in ([where] if isinstance(where, str) else where)]
    return [Filter(_composed(one.column), one.op, _composed(one.value)) for one in given]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def check_k(k: int, n: int, level: str, exclude: str, *, voting: bool = False) -> None:
    """Refuse a k that the rows cannot give.

    Args:
        k: Neighbors wanted.
        n: Rows that are searched, at least 1, those among them that the query may not meet.
        level: Of the rows.
        exclude: What a query may not meet.
        voting: Whether the rows are those that vote.

    Raises:
        InputError: If k is outside 1..n.
    """
    if k < 1:
        message = f"k = {k} is too small: at least 1 neighbor needed"
        raise InputError(message)
    if k > n:
        noun = plural(n, f"{'labelled ' if voting else ''}{ROW[level]}")
        most = (
            f"use at most {n}" if exclude == "none" else f"--exclude {exclude} leaves a query fewer; use fewer than {n}"
        )
        message = f"k = {k} is too large: there {'is' if n == 1 else 'are'} {noun} to meet; {most}"
        raise InputError(message)


def further_exclusions(view: View, exclude: str, group: str) -> dict[str, list[Any]]:
    """What never votes beside the query's group, by column; columns that are unknown throughout are passed over.

    Raises:
        InputError: If `exclude` is not "self", "fov" or "protein".
    """
    steps = ("self", "fov", "protein")
    if exclude not in steps:
        message = (
            f"exclude {exclude!r}; allowed in a sweep: {', '.join(steps)} (a query and its group never meet anyway)"
        )
        raise InputError(message)
    columns = ["fov", "protein"][: steps.index(exclude)]
    named = {c: view.names(c) for c in columns if c != group and not (c == "fov" and view.level == "protein")}
    return {c: names for c, names in named.items() if any(name is not None for name in names)}


def usable_index(loaded: Loaded, view: View, *, exact: bool | None) -> TableIndex | None:
    """The index to use, None for an exact search: proteins are aggregated on the fly and have none.

    Raises:
        InputError: If an index is asked for (`exact` False) and there is none.
    """
    if exact is not False:
        return loaded.index if exact is None and view.level != "protein" else None
    if view.level == "protein":
        message = "proteins are aggregated on the fly and searched exactly; leave --approximate out"
        raise InputError(message)
    if loaded.index is None:
        if loaded.encoder.state != "current":
            asked = f"{loaded.encoder.spec.name} is asked exactly"
            message = f"only the current encoder of a level has an index; leave --approximate out: {asked}"
            raise InputError(message)
        makes = "`locatlas embed --faiss ivf`"
        if loaded.encoder.is_imported:
            makes = "`locatlas import-embeddings --faiss ivf` of its file"
        message = f"no FAISS index to use ({loaded.index_state}); {makes} makes one"
        raise InputError(message)
    return loaded.index


_DESCRIPTIVE = {"id", "source_digest", "cell", "annotated_by"}


def known_groups(view: View) -> str:
    """Columns that could be groups: text that is known for some rows."""
    names = [n for n in view.meta.column_names if n not in _DESCRIPTIVE and pa.types.is_string(view.meta[n].type)]
    return ", ".join(n for n in names if view.meta[n].null_count < len(view)) or "none"
