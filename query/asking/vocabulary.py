"""Localizations of several vocabularies in one atlas: put them into one, or tell that they are mixed. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.indexer.labels import LabelMap, get_label_map, list_label_maps
from locatlas.indexer.store.aligned import one_array
from locatlas.query.asking.view import View

__all__ = ["label_map", "mapped_lists", "mixed", "with_mapped_labels"]


def label_map(name: str) -> LabelMap:
    """The map of this name.

    Args:
        name: "hpa->opencell" or, kinder to shells, "hpa:opencell".

    Raises:
        UnknownNameError: If there is no such map.
    """
    return get_label_map(name.replace(":", "->"))


def mapped_lists(localizations: pa.Array, name: str) -> pa.Array:
    """Lists of localizations in the target vocabulary of a map, each sorted; what a null is stays null.

    Args:
        localizations: Lists of names.
        name: Map, as `label_map` takes it.

    Raises:
        UnknownNameError: If there is no such map.
    """
    known = label_map(name)
    kept = set(known.target.labels)
    return _of_distinct(localizations, lambda labels: _mapped(labels, known, kept))


def with_mapped_labels(view: View, name: str) -> View:
    """The view with its localizations, and the graded ones, in the target vocabulary of a map.

    Of several labels that become one, the highest grade counts. Labels that are spelled as the target spells them stay;
    those without a counterpart fall away, and a row that loses all of its labels counts as unlabelled.

    Args:
        view: Any level.
        name: Map, as `label_map` takes it.

    Raises:
        UnknownNameError: If there is no such map.
    """
    known = label_map(name)
    kept = set(known.target.labels)
    columns = {"localizations": _of_distinct(_no_nulls(view, "localizations"), lambda row: _mapped(row, known, kept))}
    if "graded" in view.meta.column_names:
        columns["graded"] = _of_distinct(_no_nulls(view, "graded"), lambda row: _mapped_grades(row, known, kept))
    return view.with_columns(columns)


def _no_nulls(view: View, column: str) -> pa.Array:
    """A column of lists, empty ones in place of nulls."""
    lists = one_array(view.meta[column])
    return pc.fill_null(lists, pa.scalar([], lists.type))


def _of_distinct(lists: pa.Array, become: Callable[[list[Any]], list[Any]]) -> pa.Array:
    """What lists become, each distinct one asked for once: images are many, their sets of labels few.

    Args:
        lists: Of text, or of structs of plain values; what a null is stays null.
        become: A list of the same type for a list.
    """
    items = pc.list_flatten(lists)
    ends = np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    spelled = pa.ListArray.from_arrays(offsets, pc.cast(pa.array(_codes(items)), pa.string()))
    # codes of the items, joined, are one text a list; that of a null list, which none else is
    rows = pc.if_else(pc.is_null(lists), "null", pc.binary_join(spelled, ",")).dictionary_encode()
    code = rows.indices.to_numpy(zero_copy_only=False)
    first = np.full(len(rows.dictionary), -1, dtype=np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]
    distinct = [None if one is None else become(one) for one in lists.take(pa.array(first)).to_pylist()]
    return pa.array(distinct, lists.type).take(rows.indices)


def _codes(items: pa.Array) -> NDArray[np.int64]:
    """Integers that are equal where items are."""
    if pa.types.is_struct(items.type):
        found = np.zeros(len(items), dtype=np.int64)
        for field in range(items.type.num_fields):
            codes = _codes(pc.struct_field(items, field))
            found = found * (codes.max(initial=0) + 1) + codes
        return found
    encoded = items.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _mapped(labels: Iterable[str], known: LabelMap, kept: set[str]) -> list[str]:
    as_they_are = {label for label in labels if label in kept}
    return sorted(as_they_are | set(known.apply(set(labels) - as_they_are).labels))


def _mapped_grades(graded: Iterable[Mapping[str, Any]], known: LabelMap, kept: set[str]) -> list[dict[str, Any]]:
    found: dict[str, int] = {}
    for one in graded:
        for label in _mapped([one["localization"]], known, kept):
            found[label] = max(one["grade"], found.get(label, one["grade"]))
    return [{"localization": label, "grade": grade} for label, grade in sorted(found.items())]


def mixed(labels: Iterable[str]) -> str | None:
    """The map that would bring these classes into one vocabulary, if two words for one place are among them.

    Example:
        >>> mixed({"Nucleoplasm", "nucleoplasm", "er"})
        'hpa->opencell'
        >>> mixed({"Nucleoplasm", "er"}) is None
        True
    """
    present = set(labels)
    for one in list_label_maps():
        if any(origin != target and {origin, target} <= present for origin, target in one.pairs):
            return one.name
    return None
