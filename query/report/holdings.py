"""What an atlas holds, counted: localizations, splits, flags of quality, quarantine. Pure, given the tables."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from locatlas.indexer.reasons import by_reason
from locatlas.query.asking.view import View

__all__ = ["count_flags", "count_labels", "count_localizations", "count_splits", "quarantine_by_reason"]

_EXAMPLES = 3


def count_labels(view: View) -> dict[str, int]:
    """Images by how many localizations they have."""
    sizes = Counter(min(len(names), 2) for names in view.localizations)
    return {"none": sizes[0], "one": sizes[1], "several": sizes[2]}


def count_localizations(view: View, group: str) -> list[dict[str, Any]]:
    """Images, proteins and groups of each localization, the most frequent first. An image with two counts twice.

    Args:
        view: Images.
        group: Column of the groups.
    """
    images: Counter[str] = Counter()
    proteins: defaultdict[str, set[str]] = defaultdict(set)
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for names, protein, own in zip(view.localizations, view.names("protein"), view.names(group), strict=True):
        for name in names:
            images[name] += 1
            proteins[name] |= {protein} - {None, ""}  # type: ignore[arg-type]
            groups[name] |= {own} - {None, ""}  # type: ignore[arg-type]
    return [
        {"localization": name, "images": n, "proteins": len(proteins[name]), "groups": len(groups[name])}
        for name, n in sorted(images.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def count_splits(view: View) -> list[dict[str, Any]]:
    """Images by the value of a column `split`, where the source has one; images without a value under None."""
    if not {"split", "group_split", "metadata_split"} & set(view.meta.column_names):
        return []
    column = "split" if "split" in view.meta.column_names else "group_split"
    column = column if column in view.meta.column_names else "metadata_split"
    values = Counter(view.names(column))
    return [{"split": name, "images": n} for name, n in sorted(values.items(), key=lambda pair: str(pair[0] or ""))]


def count_flags(images: Mapping[str, pa.Table]) -> list[dict[str, Any]]:
    """Images by flag of quality.

    Args:
        images: By level, with the columns `dataset` and `qc`.
    """
    found: Counter[tuple[str, str, str]] = Counter()
    n_images: Counter[tuple[str, str]] = Counter()
    for level, table in images.items():
        for dataset, flags in zip(table["dataset"].to_pylist(), table["qc"].to_pylist(), strict=True):
            n_images[level, dataset] += 1
            found.update((level, dataset, flag) for flag in flags)
    return [
        {"level": level, "dataset": dataset, "flag": flag, "images": n, "of": n_images[level, dataset]}
        for (level, dataset, flag), n in sorted(found.items())
    ]


def quarantine_by_reason(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sources in quarantine by data set and kind of reason (`indexer.reasons`), most first, with some of each.

    The reason is that of the first source; those of the others differ in names and numbers only.

    Args:
        rows: dataset, source and reason of each.
    """
    alike: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["dataset"], row["source"])):
        alike[row["dataset"]].append((row["source"], row["reason"]))
    found = [
        {
            "dataset": dataset,
            "reason": group[0][1],
            "sources": len(group),
            "examples": [source for source, _ in group[:_EXAMPLES]],
        }
        for dataset, rejected in alike.items()
        for group in by_reason(rejected)
    ]
    return sorted(found, key=lambda one: (-one["sources"], one["dataset"], one["reason"]))
