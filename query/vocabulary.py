"""Localizations of several vocabularies in one atlas: put them into one, or tell that they are mixed. Pure."""

from collections.abc import Iterable

import pyarrow as pa

from locatlas.indexer.labels import LabelMap, get_label_map, list_label_maps
from locatlas.query.view import View

__all__ = ["mixed", "with_mapped_labels"]


def with_mapped_labels(view: View, name: str) -> View:
    """The view with its localizations in the target vocabulary of a map.

    Labels that are spelled as the target spells them stay; those without a counterpart fall away, and a row that
    loses all of its labels counts as unlabelled.

    Args:
        view: Any level.
        name: Map, "hpa->opencell" or, kinder to shells, "hpa:opencell".

    Raises:
        UnknownNameError: If there is no such map.
    """
    label_map = get_label_map(name.replace(":", "->"))
    kept = set(label_map.target.labels)
    columns = {
        c: pa.array([_mapped(labels, label_map, kept) for labels in view.localizations], pa.list_(pa.string()))
        if c == "localizations"
        else view.meta[c]
        for c in view.meta.column_names
    }
    return View(view.level, pa.table(columns), view.vectors)


def _mapped(labels: Iterable[str], label_map: LabelMap, kept: set[str]) -> list[str]:
    as_they_are = {label for label in labels if label in kept}
    return sorted(as_they_are | set(label_map.apply(set(labels) - as_they_are).labels))


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
