"""Kaggle's copies of HPA images, 2018 and 2021, told apart by the columns of train.csv. Reads names and tables."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from locatlas.errors import InputError
from locatlas.indexer.datasets.hpa import COLOURS
from locatlas.indexer.datasets.options import ReaderOptions, Reject
from locatlas.indexer.datasets.scan import file_problem, find_files, in_order, make_id, shown
from locatlas.indexer.datasets.tables import find_table, open_table, rejected_rows
from locatlas.indexer.labels import Vocabulary, get_vocabulary
from locatlas.indexer.records import ImageRecord, RejectedSource, Source

__all__ = ["read"]

logger = logging.getLogger(__name__)

FILE_NAME = re.compile(r"(?P<id>.+)_(?P<colour>red|green|blue|yellow)\.(?P<suffix>png|tiff?|jpe?g)", re.IGNORECASE)

# Columns and separator of train.csv by competition.
COMPETITIONS = {
    "kaggle-2018": ("Id", "Target", None),  # numbers separated by spaces
    "kaggle-2021": ("ID", "Label", "|"),
}


def read(given: ReaderOptions) -> Iterator[ImageRecord | RejectedSource]:
    """Records of all images below the root; see `registry.read_records`."""
    folder = given.folder
    found = find_files(folder)
    rejected, reject = given.rejecting()
    table = given.path("table") or find_table(found.files, lambda columns: _competition(columns) is not None)
    labels, vocabulary = _labels(table, reject) if table else ({}, None)
    logger.info("%s: labels from %s (%s)", folder, table or "nowhere", vocabulary.name if vocabulary else "unlabelled")
    images = _images(given, found.files, reject)
    for name in sorted(set(labels) - set(images)):
        reject(f"{table.name if table else ''}: {name}", "listed, but none of its four images is there")
    records = []
    for name, files in images.items():
        if missing := [colour for colour in COLOURS if colour not in files]:
            present = next(iter(files.values()))
            suffix = present.name.rpartition(".")[2]
            listed = ", ".join(f"{name}_{colour}.{suffix}" for colour in missing)
            reject(shown(present, folder), f"missing {listed}: all four stains are needed")
        elif (localizations := labels.get(name, ())) is not None:
            records.append(_record(given, name, files, localizations, vocabulary if name in labels else None))
    yield from in_order([*records, *rejected], folder)


def _competition(columns: Sequence[str]) -> str | None:
    return next((name for name, (key, label, _) in COMPETITIONS.items() if {key, label} <= set(columns)), None)


def _labels(path: Path, reject: Reject) -> tuple[dict[str, tuple[str, ...] | None], Vocabulary]:
    """Localizations by image; None for an image whose row is wrong.

    Raises:
        InputError: If the columns are of neither competition.
    """
    table = open_table(path)
    competition = _competition(table.columns)
    if competition is None:
        message = f"{path}: neither Id,Target (2018) nor ID,Label (2021) among its columns {', '.join(table.columns)}"
        raise InputError(message)
    key, column, separator = COMPETITIONS[competition]
    vocabulary = get_vocabulary(competition)
    labels: dict[str, tuple[str, ...] | None] = {}
    for row in rejected_rows(table, table.rows(), reject):
        name, numbers = row.values[key], row.values[column].split(separator)
        where = f"{path.name} line {row.line}: {name}"
        if name in labels:
            reject(where, "listed twice; its first row is kept")
            continue
        try:
            labels[name] = tuple(sorted({vocabulary.by_number(number) for number in numbers if number.strip()}))
        except InputError as error:
            labels[name] = None
            reject(where, str(error))
    return labels, vocabulary


def _images(given: ReaderOptions, files: Sequence[Path], reject: Reject) -> dict[str, dict[str, Path]]:
    """Files by image and colour; a second file of the same image and colour is rejected."""
    images: dict[str, dict[str, Path]] = {}
    for path in files:
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            continue
        image = images.setdefault(match["id"], {})
        colour = match["colour"].lower()
        if problem := file_problem(path, given.roots):
            reject(shown(path, given.root), problem)
        elif colour in image:
            reject(shown(path, given.root), f"image {match['id']} has that stain in {shown(image[colour], given.root)}")
        else:
            image[colour] = path
    return {name: stains for name, stains in images.items() if stains}


def _record(
    given: ReaderOptions,
    name: str,
    files: Mapping[str, Path],
    localizations: tuple[str, ...],
    vocabulary: Vocabulary | None,
) -> ImageRecord:
    return ImageRecord(
        id=make_id(given.spec.name, name),
        level="fov",
        dataset=given.spec.name,
        sources=tuple(Source(files[colour], (meaning,)) for colour, meaning in COLOURS.items()),
        localizations=localizations,
        metadata={"vocabulary": vocabulary.name} if vocabulary else {},
    )
