"""Anyone's images by a table (docs/manifest.md). Reads the table and looks at the files it names."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Literal

from locatlas.errors import InputError
from locatlas.indexer.datasets.options import ReaderOptions
from locatlas.indexer.datasets.scan import IMAGE_SUFFIXES, file_problem, in_order, make_id
from locatlas.indexer.datasets.tables import Table, open_table, rejected_rows
from locatlas.indexer.labels import parse_labels
from locatlas.indexer.records import ImageRecord, RejectedSource, Source
from locatlas.indexer.units import positive_number

__all__ = ["read"]

logger = logging.getLogger(__name__)

MANIFEST_FILES = ("manifest.csv", "manifest.tsv", "manifest.parquet")

# Columns that are fields of the record as they stand.
PLAIN = ("protein", "ensembl_id", "antibody", "cell_line", "plate", "well")
FILES = ("path", "mask_path", "nucleus_mask_path")
KNOWN = ("id", *FILES, "channels", "localizations", "annotated_by", "pixel_size_um", "level", "fov_id", *PLAIN)
PATH_PREFIX, GROUP_PREFIX = "path_", "group_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


class _BadRowError(InputError):
    """A row that no record can be made of."""


def read(given: ReaderOptions) -> Iterator[ImageRecord | RejectedSource]:
    """A record per row; see `registry.read_records`."""
    table = open_table(_manifest_file(given.root))
    _check_columns(table)
    rejected, reject = given.rejecting()
    records = _records(given, table, reject)
    yield from in_order([*records, *rejected], given.roots[0])


def _manifest_file(root: Path) -> Path:
    if not root.is_dir():
        return root
    found = [root / name for name in MANIFEST_FILES if (root / name).is_file()]
    if len(found) != 1:
        held = f"holds {' and '.join(p.name for p in found)}" if found else f"holds none of {', '.join(MANIFEST_FILES)}"
        message = f"{root}: {held}; name the manifest's file"
        raise InputError(message)
    return found[0]


def _check_columns(table: Table) -> None:
    """Refuse a table that names no image, or names known columns in another spelling."""
    columns = table.columns
    per_channel = [c for c in columns if c.startswith(PATH_PREFIX)]
    for name in columns:
        if name not in KNOWN and (right := name.strip().lower().replace(" ", "_")) in KNOWN:
            message = f"{table.path}: column {name!r} must be written {right!r}"
            raise InputError(message)
        for prefix in (PATH_PREFIX, GROUP_PREFIX):
            if name.startswith(prefix) and not NAME.fullmatch(name.removeprefix(prefix)):
                message = f"{table.path}: column {name!r} names nothing after {prefix!r}"
                raise InputError(message)
    if "path" in columns and per_channel:
        message = f"{table.path}: has both 'path' and {per_channel[0]!r}; use one file a row, or one a channel"
        raise InputError(message)
    if "path" in columns and "channels" not in columns:
        message = f"{table.path}: 'path' needs a column 'channels', e.g. nucleus;protein in the order of the planes"
        raise InputError(message)
    if "channels" in columns and "path" not in columns:
        message = f"{table.path}: 'channels' belongs to 'path', which is missing; path_<channel> needs no 'channels'"
        raise InputError(message)
    if "path" not in columns and not per_channel:
        message = f"{table.path}: missing column path, or one path_<channel> per channel; columns: {', '.join(columns)}"
        raise InputError(message)


def _records(given: ReaderOptions, table: Table, reject: Callable[[str, str], None]) -> list[ImageRecord]:
    records = []
    for row in rejected_rows(table, table.rows(), reject):
        try:
            records.append(_record(given, table, row.values))
        except InputError as error:
            named = (
                row.values.get("path")
                or row.values.get("id")
                or next((v for c, v in row.values.items() if c.startswith(PATH_PREFIX) and v), "")
            )
            where = f"{table.path.name} line {row.line}"
            reject(f"{where}: {named}" if named else where, str(error))
    return records


def _record(given: ReaderOptions, table: Table, row: Mapping[str, str]) -> ImageRecord:
    folder = table.path.parent
    sources = _sources(row, folder, given.roots)
    level = row.get("level") or "fov"
    if level not in ("fov", "cell"):
        message = f"level {level!r} is neither fov nor cell"
        raise _BadRowError(message)
    checked: Literal["fov", "cell"] = "cell" if level == "cell" else "fov"
    for column in ("fov_id", "annotated_by"):
        if row.get(column) and checked == "fov":
            message = f"{column} is for rows of level cell"
            raise _BadRowError(message)
    fov, mask, nuclei = (row.get(column) for column in ("fov_id", "mask_path", "nucleus_mask_path"))
    return ImageRecord(
        id=make_id(given.spec.name, row.get("id") or _name_of(sources)),
        level=checked,
        dataset=given.spec.name,
        sources=sources,
        localizations=parse_labels(row.get("localizations", "")),
        pixel_size_um=_pixel_size_um(row.get("pixel_size_um", "")),
        groups={c.removeprefix(GROUP_PREFIX): v for c, v in row.items() if c.startswith(GROUP_PREFIX) and v},
        metadata={
            c: v for c, v in row.items() if v and c and c not in KNOWN and not c.startswith((PATH_PREFIX, GROUP_PREFIX))
        },
        mask_path=_file(mask, "mask_path", folder, given.roots) if mask else None,
        nucleus_mask_path=_file(nuclei, "nucleus_mask_path", folder, given.roots) if nuclei else None,
        fov_id=make_id(given.spec.name, fov) if fov else None,
        annotated_by=row.get("annotated_by") or None,
        protein=row.get("protein") or None,
        ensembl_id=row.get("ensembl_id") or None,
        antibody=row.get("antibody") or None,
        cell_line=row.get("cell_line") or None,
        plate=row.get("plate") or None,
        well=row.get("well") or None,
    )


def _sources(row: Mapping[str, str], folder: Path, roots: tuple[Path, ...]) -> tuple[Source, ...]:
    if "path" in row:
        channels = tuple(c.strip() for c in row["channels"].split(";") if c.strip())
        if not channels:
            message = "channels is empty"
            raise _BadRowError(message)
        for channel in channels:
            if not NAME.fullmatch(channel) or channels.count(channel) > 1:
                message = f"channels {row['channels']!r}: {channel!r} is named twice or is no name; join them by ';'"
                raise _BadRowError(message)
        return (Source(_file(row["path"], "path", folder, roots), channels),)
    named = [(c.removeprefix(PATH_PREFIX), v) for c, v in row.items() if c.startswith(PATH_PREFIX) and v]
    if not named:
        message = "names no image"
        raise _BadRowError(message)
    return tuple(Source(_file(v, PATH_PREFIX + channel, folder, roots), (channel,)) for channel, v in named)


def _file(value: str, column: str, folder: Path, roots: tuple[Path, ...]) -> Path:
    """The file a cell names, confined to the roots after following links."""
    if not value:
        message = f"{column} is empty"
        raise _BadRowError(message)
    path = Path(os.path.abspath(folder / value)) if "\0" not in value else Path(value)
    if problem := file_problem(path, roots):
        message = f"{column} {value!r}: {problem}"
        raise _BadRowError(message)
    return path


def _name_of(sources: tuple[Source, ...]) -> str:
    """The file's name without suffix; of several files what their names begin with in common, up to a separator."""
    stems = [_stem(source.path.name) for source in sources]
    if len(stems) == 1:
        return stems[0]
    common = "".join(cs[0] for cs in takewhile(lambda cs: len(set(cs)) == 1, zip(*stems, strict=False)))
    if common not in stems:
        common = re.sub(r"[^_.\- ]*$", "", common)
    common = common.rstrip("_.- ")
    if not common:
        message = f"the files {', '.join(s.path.name for s in sources)} have no common name; add a column 'id'"
        raise _BadRowError(message)
    return common


def _stem(name: str) -> str:
    suffix = next((s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)] if suffix else Path(name).stem


def _pixel_size_um(text: str) -> float | None:
    number = positive_number(text)
    if text and number is None:
        message = f"pixel_size_um {text!r} is not a positive number"
        raise _BadRowError(message)
    return number
