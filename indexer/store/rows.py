"""Between records and rows of the image tables, both ways. Looks at files only to follow links."""

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.regions import unpack
from locatlas.indexer.records import ImageRecord, Source
from locatlas.indexer.store.schema import image_schema
from locatlas.indexer.store.sources import below_root, own_place, root_of
from locatlas.models.crops import Place

__all__ = [
    "METADATA_COLUMNS",
    "STATED",
    "described",
    "image_rows",
    "pairs",
    "place_of",
    "record_from_row",
    "rows_of",
    "with_stated_scale",
]

STATED = "stated on indexing"
"""Where a pixel size is from that the user gave with `--pixel-size`, in the metadata `pixel_size_from`."""

METADATA_COLUMNS = (
    "dataset",
    "protein",
    "ensembl_id",
    "antibody",
    "cell_line",
    "plate",
    "well",
    "channels",
    "pixel_size_um",
    "localizations",
    "graded",
    "groups",
    "metadata",
    "root",
    "sources",
    "row",
    "mask",
    "nucleus_mask",
)
"""What a reader says of an image without looking at its pixels; may change while the vector stays valid."""


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    """A mapping as the store keeps it: (name, value) pairs sorted by name."""
    return [{"name": name, "value": values[name]} for name in sorted(values)]


def place_of(row: Mapping[str, Any], *, with_mask: bool = True) -> Place:
    """Where the cell of a row lies in its field.

    Args:
        row: Of `cells`, with a box.
        with_mask: Unpack the mask, which needs the column `region`.

    Raises:
        ImageRejectedError: If the stored mask is damaged.
    """
    top, left, bottom, right = row["box"]
    nucleus = row["nucleus_centroid"]
    packed = row["region"] if with_mask else None
    return Place(
        box=(top, left, bottom, right),
        centroid=(row["centroid"][0], row["centroid"][1]),
        nucleus_centroid=None if nucleus is None else (nucleus[0], nucleus[1]),
        touches_border=bool(row["touches_border"]),
        mask=None if packed is None else unpack(packed, row["box"]),
    )


def with_stated_scale(said: Mapping[str, Any], here: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a reader said, with the pixel size that the user stated before, where the reader knows none.

    Args:
        said: From `described`.
        here: The stored row, None for a new image.
    """
    source = {"name": "pixel_size_from", "value": STATED}
    if here is None or said["pixel_size_um"] is not None or source not in here["metadata"]:
        return dict(said)
    metadata = sorted([*said["metadata"], source], key=lambda pair: pair["name"])
    return {**said, "pixel_size_um": here["pixel_size_um"], "metadata": metadata}


def described(record: ImageRecord, *, roots: Mapping[str, Path]) -> dict[str, Any]:
    """The metadata columns of a record, as the store keeps them.

    Args:
        record: What the reader said.
        roots: Declared folders by name; the first that holds the record's first source is taken for all of them.

    Raises:
        ImageRejectedError: If the sources do not lie together under one declared root, or a text or number is none
            that can be stored.
    """
    name = root_of(record.sources[0].path, roots) or next(iter(roots))
    root = roots[name]
    said: dict[str, Any] = {
        "id": record.id,
        "dataset": record.dataset,
        "protein": record.protein,
        "ensembl_id": record.ensembl_id,
        "antibody": record.antibody,
        "cell_line": record.cell_line,
        "plate": record.plate,
        "well": record.well,
        "channels": list(record.channels),
        "pixel_size_um": record.pixel_size_um,
        # what an annotator said of a cell is its own, and stands with who said it; this column is what it inherits
        "localizations": [] if record.annotated_by else sorted(set(record.localizations)),
        "graded": [{"localization": label, "grade": grade} for label, grade in sorted(set(record.graded))],
        "groups": pairs(record.groups),
        "metadata": pairs(record.metadata),
        "root": name,
        "sources": [{"path": below_root(s.path, root, roots), "channels": list(s.channels)} for s in record.sources],
        "row": record.row,
        "mask": below_root(record.mask_path, root, roots) if record.mask_path else None,
    }
    if record.level == "cell":
        said["fov_id"] = record.fov_id
    else:
        nucleus = record.nucleus_mask_path
        said["nucleus_mask"] = below_root(nucleus, root, roots) if nucleus else None
    # one spelling of each name, whatever the keyboard or file system; paths stay as they are
    paths = ("root", "sources", "mask", "nucleus_mask")
    said |= {name: _composed(value) for name, value in said.items() if name not in paths}
    if not said["id"] or any(unicodedata.category(c) == "Cc" for c in record.id):
        message = f"{record.sources[0].path}: id {record.id!r} is empty or has control characters"
        raise ImageRejectedError(message)
    try:
        json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
    except (UnicodeEncodeError, ValueError) as error:
        message = f"{record.sources[0].path}: cannot be stored ({error})"
        raise ImageRejectedError(message.encode("utf-8", "backslashreplace").decode()) from error
    return said


def _composed(value: Any) -> Any:
    """All text in NFC."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [_composed(one) for one in value]
    if isinstance(value, tuple):
        return tuple(_composed(one) for one in value)
    return {name: _composed(one) for name, one in value.items()} if isinstance(value, dict) else value


def image_rows(rows: Sequence[Mapping[str, Any]], level: str) -> pa.Table:
    """Rows of an image table; columns that a row does not name are null.

    Args:
        rows: Dictionaries by column name.
        level: "fov" or "cell".
    """
    schema = image_schema("fov" if level == "fov" else "cell")
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table one by one; as Python's objects, some millions of them would take ten gigabytes at once."""
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def record_from_row(row: Mapping[str, Any], *, level: str, roots: Mapping[str, Path]) -> ImageRecord:
    """The record that a stored row was made from, its sources under the declared roots.

    Args:
        row: A row of `fovs` or `cells`.
        level: "fov" or "cell".
        roots: Declared folders by name: all of them, as a file may be a link into another one.

    Raises:
        ImageRejectedError: If the row has no source (vectors made elsewhere), its root is not declared, a path would
            leave it, or a link would leave all of them.
    """
    if not row["sources"]:
        message = f"{row['id']}: has no image (its vector was imported), so it cannot be embedded"
        raise ImageRejectedError(message)
    if row["root"] not in roots:
        message = f"{row['id']}: its root {row['root']!r} is not declared; known: {', '.join(sorted(roots))}"
        raise ImageRejectedError(message)
    root = roots[row["root"]].resolve()  # the folder may have become a link since it was declared

    def inside(relative: str) -> Path:
        path = root / relative
        target = path.resolve()
        if target.is_relative_to(root):
            return path
        if not own_place(path).is_relative_to(root) or not any(
            target.is_relative_to(r.resolve()) for r in roots.values()
        ):
            message = f"{row['id']}: {relative!r} leaves its root {root}"
            raise ImageRejectedError(message)
        return path

    return ImageRecord(
        id=row["id"],
        level="fov" if level == "fov" else "cell",
        dataset=row["dataset"],
        sources=tuple(Source(inside(s["path"]), tuple(s["channels"])) for s in row["sources"]),
        protein=row["protein"],
        ensembl_id=row["ensembl_id"],
        antibody=row["antibody"],
        cell_line=row["cell_line"],
        plate=row["plate"],
        well=row["well"],
        localizations=tuple(row["localizations"]),
        graded=tuple((g["localization"], g["grade"]) for g in row["graded"]),
        pixel_size_um=row["pixel_size_um"],
        groups={p["name"]: p["value"] for p in row["groups"]},
        metadata={p["name"]: p["value"] for p in row["metadata"]},
        mask_path=inside(row["mask"]) if row["mask"] else None,
        nucleus_mask_path=inside(row["nucleus_mask"]) if row.get("nucleus_mask") else None,
        fov_id=row.get("fov_id"),
        row=row["row"],
    )
