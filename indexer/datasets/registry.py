"""The data sets by name, and the one way to read them. Reads the package's own table only."""

import importlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.datasets.options import GENERAL_OPTIONS, ReaderOptions
from locatlas.indexer.records import ImageRecord, RejectedSource

__all__ = ["DatasetSpec", "get_dataset", "list_datasets", "read_records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """What a data set is and how its files are laid out.

    Attributes:
        name: As given to `index --dataset`.
        title: One line for people.
        level: "fov", "cell", or "both".
        channels: Meanings of the planes it can have; () where the source names them.
        vocabulary: Label vocabulary (`labels.get_vocabulary`), None where the source decides.
        pixel_size_um: Edge of a pixel of the original images in micrometres, None where unknown or various. A record
            carries it only where its file is known to be such an original.
        license: Of the images.
        source: Where they come from.
        layout: The files that are expected.
        options: Name and meaning of what `read_records` takes besides the general options.
    """

    name: str
    title: str
    level: str
    channels: tuple[str, ...]
    license: str
    source: str
    layout: str
    vocabulary: str | None = None
    pixel_size_um: float | None = None
    options: tuple[tuple[str, str], ...] = ()


@cache
def _specs() -> dict[str, DatasetSpec]:
    text = files("locatlas.indexer.datasets").joinpath("datasets.toml").read_text(encoding="utf-8")
    specs = {}
    for name, entry in tomllib.loads(text).items():
        entry["channels"] = tuple(entry["channels"])
        entry["options"] = tuple(sorted(entry.get("options", {}).items()))
        entry["layout"] = entry["layout"].strip()
        specs[name] = DatasetSpec(name=name, **entry)
    return specs


def list_datasets() -> tuple[DatasetSpec, ...]:
    """All data sets, sorted by name."""
    return tuple(spec for _, spec in sorted(_specs().items()))


def get_dataset(name: str) -> DatasetSpec:
    """The data set of that name.

    Raises:
        UnknownNameError: If there is none; lists those there are.
    """
    try:
        return _specs()[name]
    except KeyError:
        raise UnknownNameError("data set", name, _specs(), "manifest reads images of your own") from None


def read_records(
    name: str, root: Path, *, options: Mapping[str, Any] | None = None
) -> Iterator[ImageRecord | RejectedSource]:
    """What a data set holds: one record per image, and every source of its own that cannot be used.

    Pixels are not read. Records come sorted by id, then the rejected sources sorted by name, the same in every run. Of
    two images with one id the first (by path, or by row of the table) is kept and the other rejected, naming both.

    Args:
        name: Data set name.
        root: Folder of the data set; for a manifest its file, or the folder that holds it.
        options: The data set's own (`DatasetSpec.options`) and the general ones: `roots`, further folders in which
            linked or listed files may lie, and `pixel_size_um`, which overrides what the reader knows.

    Yields:
        Records and rejected sources.

    Raises:
        UnknownNameError: If the data set or an option is unknown.
        InputError: If the root is missing, or a table that labels the images cannot be read as a whole.
    """
    spec = get_dataset(name)
    own = dict(spec.options)
    for key in options or {}:
        if key not in own and key not in GENERAL_OPTIONS:
            raise UnknownNameError(f"option of data set {name!r}:", key, [*own, *GENERAL_OPTIONS])
    if not root.exists():
        message = f"{root}: no such file or folder"
        raise InputError(message)
    reader = importlib.import_module(f"locatlas.indexer.datasets.{name.replace('-', '_')}")
    given = ReaderOptions(spec, root.resolve(), options or {})
    yield from given.applied(reader.read(given))
