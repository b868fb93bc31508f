"""What annotators said and how far they agree: the document of `annotate report`. Reads the store."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from locatlas.errors import UnknownNameError
from locatlas.indexer.annotation.said import Annotation
from locatlas.indexer.annotation.table import consensus_by_image, read_annotations
from locatlas.indexer.csv_cells import write_cells
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.query.annotation.agreement import NO_CLASS, inherited_labels_hold, pairs_of
from locatlas.query.asking.vocabulary import mixed

__all__ = ["annotation_report", "annotation_table", "write_disputed"]

DEFINITIONS = {
    "equal": "share of the images both looked at on which they chose exactly the same localizations",
    "single_label": "Cohen's kappa over classes, on images where both chose at most one localization; none is a class",
    "multi_label": "mean over classes that either chose of Cohen's kappa of seen against not seen, on all images",
    "disputed": "no localization was chosen by more than half of the annotators, nor 'none'; such a cell has no label",
    "inherited_holds": "of the images that inherit a localization and are not disputed, the share it was seen in",
}


def annotation_table(store: Store) -> pa.Table:
    """All annotations, sorted by image and annotator, as the table has them.

    One more column, `applies`: whether the image is still the one that was looked at. What was said of other pixels, or
    of a cell that is not there now, is kept and does not count.
    """
    rows = store.read("annotations")
    now = {level: _images(store, level, ("source_digest",)) for level in ("fov", "cell")}
    applies = [
        now[level].get(image_id, {}).get("source_digest") == digest
        for image_id, level, digest in zip(
            *(rows[c].to_pylist() for c in ("image_id", "level", "source_digest")), strict=True
        )
    ]
    return rows.append_column("applies", pa.array(applies, pa.bool_()))


def annotation_report(store: Store, *, level: str | None = None) -> dict[str, Any]:
    """Counts, agreement of annotators, disputes, and how often inherited labels hold.

    Args:
        store: The atlas.
        level: "fov" or "cell"; None for the level that has annotations, cells where both have.

    Returns:
        The JSON document of `annotate report`.

    Raises:
        UnknownNameError: If there is no such level.
    """
    everything = read_annotations(store)
    if level is None:
        level = "fov" if everything and all(a.level == "fov" for a in everything) else "cell"
    elif level not in ("fov", "cell"):
        raise UnknownNameError("level", level, ("fov", "cell"))
    said = [a for a in everything if a.level == level]
    images = _images(store, level, ("source_digest", "localizations"))
    digests = {i: row["source_digest"] for i, row in images.items()}
    together = consensus_by_image(said, digests, level=level)
    by_image: defaultdict[str, list[Annotation]] = defaultdict(list)
    for a in said:
        if digests.get(a.image_id) == a.source_digest:
            by_image[a.image_id].append(a)
    agreed = {i: c.localizations for i, c in together.items() if c.localizations is not None}
    decisions: defaultdict[str, dict[tuple[str, str], Sequence[str]]] = defaultdict(dict)
    for a in said:
        if a.is_joint:
            continue
        # two agree on an image as both saw it, also where it has changed since
        decisions[a.annotator][a.image_id, a.source_digest] = a.localizations
    inherited = [(images[i]["localizations"], own) for i, own in agreed.items()]
    holds = inherited_labels_hold([pair for pair in inherited if pair[0]])
    return {
        "level": level,
        "images": len(images),
        "annotated": len(together),
        "agreed": len(agreed),
        "annotators": [
            _annotator(name, [a for a in said if a.annotator == name], digests)
            for name in sorted({a.annotator for a in said})
        ],
        "pairs": [pair.to_dict() for pair in pairs_of(decisions)],
        "disputed": [
            {
                "id": i,
                "decisions": [
                    {
                        "annotator": a.annotator,
                        "localizations": list(a.localizations),
                        "note": a.note,
                        "at": a.at.isoformat(),
                    }
                    for a in by_image[i]
                ],
            }
            for i in sorted(together)
            if together[i].is_disputed
        ],
        "inherited_holds": {
            "n": sum(bool(names) for names, _ in inherited),
            "equal": sum(bool(names) and set(names) == set(own) for names, own in inherited),
            "per_class": {
                name: {"n": one.n, "holds": one.holds, "share": one.share, "seen_elsewhere": one.seen_elsewhere}
                for name, one in holds.items()
            },
        },
        "notes": _notes(said, inherited),
        "definitions": DEFINITIONS,
    }


def _images(store: Store, level: str, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    rows = store.read(image_table(level), ["id", *columns])
    return {row["id"]: row for row in rows.to_pylist()}


def _annotator(name: str, mine: Sequence[Annotation], digests: Mapping[str, str]) -> dict[str, Any]:
    return {
        "annotator": name,
        "n": len(mine),
        "none": sum(not a.localizations for a in mine),
        "several": sum(len(a.localizations) > 1 for a in mine),
        "changed": sum(digests.get(a.image_id, a.source_digest) != a.source_digest for a in mine),
        "gone": sum(a.image_id not in digests for a in mine),
        "first_at": min(a.at for a in mine).isoformat(),
        "last_at": max(a.at for a in mine).isoformat(),
    }


def _notes(said: Sequence[Annotation], inherited: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[str]:
    labels = {label for names, own in inherited for label in (*names, *own)}
    notes = []
    if not said:
        notes.append("nobody has annotated anything at this level; `locatlas annotate export` writes a sheet")
    if n_joint := sum(a.is_joint for a in said):
        notes.append(
            f"{n_joint} decisions are those of several annotators together, as the data set says; they say nothing of "
            "how far these agree, and are in no pair"
        )
    if (label_map := mixed(labels)) is not None:
        notes.append(
            f"annotated and inherited labels are of two vocabularies ({label_map}), so that the same place under two "
            "names counts as disagreement; annotate with --vocabulary"
        )
    return notes


def write_disputed(report: Mapping[str, Any], path: Path) -> None:
    """Write the disputed images of a report as CSV, one line a decision; localizations are joined by ";".

    Args:
        report: From `annotation_report`.
        path: File to write.
    """
    with path.open("w", encoding="utf-8-sig", newline="") as stream:  # as the sheet: for spreadsheet programs
        write_cells(stream, ["id", "annotator", "localizations", "note", "at"])
        for image in report["disputed"]:
            for one in image["decisions"]:
                chosen = ";".join(one["localizations"]) or NO_CLASS
                write_cells(stream, [image["id"], one["annotator"], chosen, one["note"] or "", one["at"]])
