"""scPortrait's single-cell files (.h5sc): a record per row, its masks left out. Reads the files, not their images."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.datasets.options import ReaderOptions
from locatlas.indexer.datasets.scan import file_problem, find_files, in_order, make_id, shown
from locatlas.indexer.files.decoding import read_cell_file
from locatlas.indexer.files.h5sc import CELL_ID, CellFile
from locatlas.indexer.labels import parse_labels
from locatlas.indexer.records import ImageRecord, RejectedSource, Source
from locatlas.types import STAINS

__all__ = ["read"]

logger = logging.getLogger(__name__)

SUFFIX = ".h5sc"
LEFT_OUT = "-"
# Columns of obs that are fields of the record, as in a manifest.
PLAIN = ("protein", "ensembl_id", "antibody", "cell_line", "plate", "well", "annotated_by")
GROUP_PREFIX = "group_"
NOT_EXTRACTED = "0"
"""scPortrait fills the numbers with 0 before it extracts; a row that keeps it has no cell."""


def read(given: ReaderOptions) -> Iterator[ImageRecord | RejectedSource]:
    """A record per cell of every .h5sc file; see `registry.read_records`."""
    files = find_files(given.root).files if given.root.is_dir() else [given.root]
    meanings = _meanings(given)
    rejected, reject = given.rejecting()
    records: list[ImageRecord] = []
    for path in files:
        if path.suffix.lower() != SUFFIX:
            continue
        if problem := file_problem(path, given.roots):
            reject(shown(path, given.roots[0]), problem)
            continue
        try:
            records += _records(given, path, meanings, reject)
        except (ImageRejectedError, InputError) as error:
            reject(shown(path, given.roots[0]), str(error).removeprefix(f"{path}: "))
    yield from in_order([*records, *rejected], given.roots[0])


def _meanings(given: ReaderOptions) -> tuple[str, ...] | None:
    """The user's names for the image channels, in the files' order."""
    text = given.text("channels")
    if text is None:
        return None
    names = tuple(part.strip() for part in text.split(","))
    used = [name for name in names if name != LEFT_OUT]
    if not used or "" in names or len(set(used)) < len(used):
        message = f"option 'channels': {text!r}; name each image channel once, e.g. nucleus,protein,{LEFT_OUT}"
        raise InputError(message)
    return names


def _records(
    given: ReaderOptions, path: Path, meanings: Sequence[str] | None, reject: Callable[[str, str], None]
) -> list[ImageRecord]:
    file = read_cell_file(path)
    channels = _channels(file, meanings)
    if file.left_out:
        logger.info("%s: columns of obs in an unknown encoding: %s", path, ", ".join(file.left_out))
    name = path.relative_to(given.roots[0]) if path.is_relative_to(given.roots[0]) else Path(path.name)
    numbers = file.columns[CELL_ID]
    if n_empty := sum(number == NOT_EXTRACTED for number in numbers):
        reject(shown(path, given.roots[0]), f"{n_empty} of {file.n_cells} rows have {CELL_ID} 0: no cell was extracted")
    return [
        _record(given, path, f"{name.with_suffix('').as_posix()}/{number}", row, channels, _said(file, row))
        for row, number in enumerate(numbers)
        if number != NOT_EXTRACTED
    ]


def _channels(file: CellFile, meanings: Sequence[str] | None) -> tuple[str, ...]:
    """Meaning of each plane of a row, "" for masks and what is left out.

    Raises:
        ImageRejectedError: If names are needed, or there are not as many as image channels.
    """
    images = [name for name, kind in zip(file.names, file.kinds, strict=True) if kind == "image_channel"]
    if meanings is None:
        if not images or len(set(images)) < len(images) or not set(images) <= set(STAINS):
            called = ", ".join(map(repr, images)) or "nothing"
            message = (
                f"its image channels are called {called}; say what they are with the option channels, "
                f"e.g. channels=nucleus,protein ({LEFT_OUT} leaves one out)"
            )
            raise ImageRejectedError(message)
        meanings = images
    if len(meanings) != len(images):
        message = f"{len(images)} image channels ({', '.join(images)}), but the option channels names {len(meanings)}"
        raise ImageRejectedError(message)
    named = iter(meanings)
    planes = (next(named) if kind == "image_channel" else "" for kind in file.kinds)
    return tuple("" if plane == LEFT_OUT else plane for plane in planes)


def _said(file: CellFile, row: int) -> dict[str, str]:
    return {name: values[row] for name, values in file.columns.items() if name != CELL_ID and values[row]}


def _record(
    given: ReaderOptions, path: Path, name: str, row: int, channels: tuple[str, ...], said: Mapping[str, str]
) -> ImageRecord:
    fov = said.get("fov_id")
    own = (*PLAIN, "localizations", "fov_id")
    return ImageRecord(
        id=make_id(given.spec.name, name),
        level="cell",
        dataset=given.spec.name,
        sources=(Source(path, channels),),
        localizations=parse_labels(said.get("localizations", "")),
        groups={c.removeprefix(GROUP_PREFIX): v for c, v in said.items() if c.startswith(GROUP_PREFIX)},
        metadata={c: v for c, v in said.items() if c not in own and not c.startswith(GROUP_PREFIX)},
        fov_id=make_id(given.spec.name, fov) if fov else None,
        row=row,
        protein=said.get("protein"),
        ensembl_id=said.get("ensembl_id"),
        antibody=said.get("antibody"),
        cell_line=said.get("cell_line"),
        plate=said.get("plate"),
        well=said.get("well"),
        annotated_by=said.get("annotated_by"),
    )
