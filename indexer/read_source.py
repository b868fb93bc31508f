"""The records of a source as a run wants them: under its name, with the scale that was stated, sorted. Reads files."""

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from locatlas.errors import InputError
from locatlas.indexer.datasets import read_records
from locatlas.indexer.packed import Packed
from locatlas.indexer.records import ImageRecord, RejectedSource
from locatlas.indexer.store.rows import STATED

__all__ = ["check_name", "read_source"]


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a data set.

    Raises:
        InputError: Saying what it must be.
    """
    if not name or "/" in name or not name.isprintable() or unicodedata.normalize("NFC", name) != name:
        message = f"data set name {name!r}: must not be empty, and have no '/', no control characters, NFC only"
        raise InputError(message)


def read_source(
    dataset: str,
    source: Path,
    options: Mapping[str, Any],
    *,
    name: str | None,
    level: str | None,
    pixel_size_um: float | None,
) -> tuple[Packed[ImageRecord], list[RejectedSource]]:
    """What a reader yields.

    Args:
        dataset: Name of the reader.
        source: What it reads.
        options: Of the reader.
        name: Of the data set; None for the reader's own.
        level: "fov" leaves images of single cells out.
        pixel_size_um: Stated size of a pixel, for records that know none.

    Returns:
        Records sorted by id, and sources that cannot be used.

    Raises:
        InputError: As `datasets.read_records`.
    """
    records: Packed[ImageRecord] = Packed()
    last, is_sorted = "", True
    rejected: list[RejectedSource] = []
    for item in read_records(dataset, source, options=dict(options)):
        if isinstance(item, RejectedSource):
            rejected.append(item)
        elif level != "fov" or item.level == "fov":
            if name is not None and name != item.dataset:
                item = _renamed(item, name)
            records.append(_with_scale(item, pixel_size_um))
            # readers sort; what came from several data sets may have to be sorted again under another name
            last, is_sorted = item.id, is_sorted and last <= item.id
    return records if is_sorted else Packed(sorted(records, key=lambda r: r.id)), rejected


def _renamed(record: ImageRecord, name: str) -> ImageRecord:
    """The record as one of the data set `name`; its id and its FOV's begin with it."""

    def again(i: str) -> str:
        return f"{name}/{i.removeprefix(f'{record.dataset}/')}"

    fov_id = again(record.fov_id) if record.fov_id else None
    return replace(record, dataset=name, id=again(record.id), fov_id=fov_id)


def _with_scale(record: ImageRecord, pixel_size_um: float | None) -> ImageRecord:
    """The record with the stated pixel size where its own is not known."""
    if pixel_size_um is None or record.pixel_size_um is not None:
        return record
    return replace(record, pixel_size_um=pixel_size_um, metadata={**record.metadata, "pixel_size_from": STATED})
