"""Localizations of several vocabularies in one atlas: put them into one, or tell that they are mixed. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from locatlas.indexer.labels import LabelMap, get_label_map, list_label_maps
from locatlas.query.view import View

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
    rows = [None if one is None else _mapped(one, known, kept) for one in localizations.to_pylist()]
    return pa.array(rows, pa.list_(pa.string()))


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
    mapped = [_mapped(labels, known, kept) for labels in view.localizations]
    columns = {c: view.meta[c] for c in view.meta.column_names}
    columns["localizations"] = pa.array(mapped, pa.list_(pa.string()))
    if "graded" in columns:
        graded = [_mapped_grades(row or (), known, kept) for row in columns["graded"].to_pylist()]
        columns["graded"] = pa.array(graded, columns["graded"].type)
    return View(view.level, pa.table(columns), view.vectors, view.norms)


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
