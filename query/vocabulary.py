"""Localizations of several vocabularies in one atlas: put them into one, or tell that they are mixed. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from locatlas.indexer.labels import LabelMap, get_label_map, list_label_maps
from locatlas.query.view import View

__all__ = ["mixed", "with_mapped_labels"]


def with_mapped_labels(view: View, name: str) -> View:
    """The view with its localizations, and the graded ones, in the target vocabulary of a map.

    Of several labels that become one, the highest grade counts. Labels that are spelled as the target spells them stay;
    those without a counterpart fall away, and a row that loses all of its labels counts as unlabelled.

    Args:
        view: Any level.
        name: Map, "hpa->opencell" or, kinder to shells, "hpa:opencell".

    Raises:
        UnknownNameError: If there is no such map.
    """
    label_map = get_label_map(name.replace(":", "->"))
    kept = set(label_map.target.labels)
    mapped = [_mapped(labels, label_map, kept) for labels in view.localizations]
    columns = {c: view.meta[c] for c in view.meta.column_names}
    columns["localizations"] = pa.array(mapped, pa.list_(pa.string()))
    if "graded" in columns:
        graded = [_mapped_grades(row or (), label_map, kept) for row in columns["graded"].to_pylist()]
        columns["graded"] = pa.array(graded, columns["graded"].type)
    return View(view.level, pa.table(columns), view.vectors, view.norms)


def _mapped(labels: Iterable[str], label_map: LabelMap, kept: set[str]) -> list[str]:
    as_they_are = {label for label in labels if label in kept}
    return sorted(as_they_are | set(label_map.apply(set(labels) - as_they_are).labels))


def _mapped_grades(graded: Iterable[Mapping[str, Any]], label_map: LabelMap, kept: set[str]) -> list[dict[str, Any]]:
    found: dict[str, int] = {}
    for one in graded:
        for label in _mapped([one["localization"]], label_map, kept):
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
    for label_map in list_label_maps():
        if any(origin != target and {origin, target} <= present for origin, target in label_map.pairs):
            return label_map.name
    return None
