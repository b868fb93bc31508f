"""DINO4Cells' tables: whole_images.csv for fields, a like one for single cells. Reads tables and looks at files."""

import ast
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from locatlas.errors import InputError
from locatlas.indexer.datasets.options import ReaderOptions
from locatlas.indexer.datasets.scan import file_problem, find_files, in_order, make_id
from locatlas.indexer.datasets.tables import Table, find_table, open_table, rejected_rows
from locatlas.indexer.labels import Vocabulary, get_vocabulary
from locatlas.indexer.records import ImageRecord, RejectedSource, Source

__all__ = ["read"]

logger = logging.getLogger(__name__)

REQUIRED = ("file", "ID")

# Published sources agree on protein = 1 and ER = 3, and contradict each other on 0 and 2.
CHANNEL_ORDERS = {
    "rgby": ("microtubules", "protein", "nucleus", "er"),
    "bgry": ("nucleus", "protein", "microtubules", "er"),
}

# {antibody number}_{plate}_{well}_{fov}, with _{cell} for single cells; or a Kaggle UUID, with _{cell} too.
SITE_ID = re.compile(
    r"(?P<fov>(?P<antibody>[0-9]+)_(?P<plate>[0-9A-Za-z]+)_(?P<well>[A-Za-z]{1,2}[0-9]{1,2})_[0-9]+)(?:_(?P<cell>[0-9]+))?"
)
KAGGLE_ID = re.compile(r"(?P<fov>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:_(?P<cell>[0-9]+))?")

BOOLEANS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": False}
PLAIN_COLUMNS = ("file", "ID", "cell_type", "protein_location", "")


def read(given: ReaderOptions) -> Iterator[ImageRecord | RejectedSource]:
    """A record per row; see `registry.read_records`."""
    path = given.path("table") or (given.root if given.root.is_file() else None)
    files = find_files(given.roots[0]).files
    path = path or find_table(files, lambda columns: set(REQUIRED) <= set(columns))
    if path is None:
        message = f"{given.root}: no CSV with the columns {', '.join(REQUIRED)}; name it with the option 'table'"
        raise InputError(message)
    table = open_table(path, required=REQUIRED)
    rejected, reject = given.rejecting()
    order = given.choice("channel_order", CHANNEL_ORDERS, "rgby")
    vocabulary, labels = _label_columns(table)
    lookup = _Files(given, table.path.parent, files)
    records = []
    for row in rejected_rows(table, table.rows(), reject):
        where = f"{path.name} line {row.line}: {row.values['ID']}"
        try:
            records.append(_record(given, row.values, labels, vocabulary, lookup, order))
        except InputError as error:
            reject(where, str(error))
    yield from in_order([*records, *rejected], given.roots[0])


def _label_columns(table: Table) -> tuple[Vocabulary, dict[str, str]]:
    """The vocabulary that knows most of the columns, and label by column."""
    found = []
    for name in ("kaggle-2018", "kaggle-2021"):
        vocabulary = get_vocabulary(name)
        labels = {c: known for c in table.columns if c not in PLAIN_COLUMNS and (known := vocabulary.canonical(c))}
        found.append((vocabulary, labels))
    return max(found, key=lambda pair: len(pair[1]))


class _Files:
    """Finds the file of a row: below the table's folder or the root, or by base name where the path is foreign."""

    def __init__(self, given: ReaderOptions, folder: Path, files: Sequence[Path]) -> None:
        self.roots = given.roots
        self.places = (folder, *given.roots)
        self.by_name: dict[str, Path | None] = {}
        for path in files:
            self.by_name[path.name] = None if path.name in self.by_name else path

    def find(self, value: str) -> Path:
        """The file.

        Raises:
            InputError: If there is none, several have the name, or it lies outside the roots.
        """
        problem: str | None = "the path is empty"
        relative = PurePosixPath(value)
        if value and not relative.is_absolute() and not PureWindowsPath(value).is_absolute():
            for place in self.places:
                problem = file_problem(place / value, self.roots)
                if problem is None:
                    return place / value
                if problem != "no such file":
                    break
        elif value:
            # the authors' own disks: only the name means something here
            name = PureWindowsPath(value).name if "\\" in value else relative.name
            if (path := self.by_name.get(name)) is not None:
                problem = file_problem(path, self.roots)
                if problem is None:
                    return path
            else:
                problem = "several files have that name" if name in self.by_name else "no file of that name"
        message = f"file {value!r}: {problem}"
        raise InputError(message)


def _record(
    given: ReaderOptions,
    row: Mapping[str, str],
    labels: Mapping[str, str],
    vocabulary: Vocabulary,
    lookup: _Files,
    order: str,
) -> ImageRecord:
    match = SITE_ID.fullmatch(row["ID"]) or KAGGLE_ID.fullmatch(row["ID"])
    parts = match.groupdict() if match else {}
    cell = parts.get("cell")
    level: Literal["fov", "cell"] = "cell" if cell is not None else "fov"
    name = parts.get("fov") or row["ID"]
    return ImageRecord(
        id=make_id(given.spec.name, f"{name}/{int(cell)}" if cell is not None else name),
        level=level,
        dataset=given.spec.name,
        sources=(Source(lookup.find(row["file"]), CHANNEL_ORDERS[order]),),
        antibody=parts.get("antibody"),
        cell_line=row.get("cell_type") or None,
        plate=parts.get("plate"),
        well=parts.get("well"),
        localizations=_localizations(row, labels, vocabulary),
        groups={"antibody": parts["antibody"]} if parts.get("antibody") else {},
        metadata={
            "channel_order": order,
            "vocabulary": vocabulary.name,
            **({"protein_location": row["protein_location"]} if row.get("protein_location") else {}),
        },
        fov_id=make_id(given.spec.name, name) if cell is not None else None,
    )


def _localizations(row: Mapping[str, str], labels: Mapping[str, str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The columns that are true; without such columns, the list in protein_location."""
    if labels:
        found = set()
        for column, label in labels.items():
            value = BOOLEANS.get(row[column].lower())
            if value is None:
                message = f"column {column!r} holds {row[column]!r}, neither True nor False"
                raise InputError(message)
            if value:
                found.add(label)
        return tuple(sorted(found))
    text = row.get("protein_location", "")
    if not text:
        return ()
    try:
        listed = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        message = f"protein_location {text[:80]!r} is not a list of names"
        raise InputError(message) from error
    if not isinstance(listed, list | tuple) or not all(isinstance(label, str) for label in listed):
        message = f"protein_location {text[:80]!r} is not a list of names"
        raise InputError(message)
    return vocabulary.label_set(listed)
