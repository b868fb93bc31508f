"""cytoself's stacked arrays of OpenCell cells, memory-mapped and never unpickled. Reads headers and labels."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.datasets.options import ReaderOptions
from locatlas.indexer.datasets.scan import file_problem, find_files, in_order, make_id, shown
from locatlas.indexer.files.npy import open_npy
from locatlas.indexer.labels import UnknownLabels, get_vocabulary, parse_labels
from locatlas.indexer.records import ImageRecord, RejectedSource, Source

__all__ = ["read"]

logger = logging.getLogger(__name__)

# royerlab/cytoself: pro = target protein, nuc = nucleus; nucdist is computed from nuc and not a stain.
FILE_NAME = re.compile(r"(?P<protein>.+)_(?P<part>pro|nuc|nucdist|label)\.npy")
STAINS = {"nuc": "nucleus", "pro": "protein"}
LABEL_COLUMNS = ("Ensembl ID", "name", "localization")
CELL_LINE = "HEK293T"


def read(given: ReaderOptions) -> Iterator[ImageRecord | RejectedSource]:
    """A record per row of the arrays; see `registry.read_records`."""
    folder = given.folder
    rejected, reject = given.rejecting()
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in find_files(folder).files:
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            continue
        if problem := file_problem(path, given.roots):
            reject(shown(path, folder), problem)
        else:
            groups.setdefault((path.parent, match["protein"]), {})[match["part"]] = path
    unknown = UnknownLabels(get_vocabulary("opencell"))
    records: list[ImageRecord] = []
    for (_, protein), files in groups.items():
        records += _records(given, protein, files, unknown, reject)
    unknown.log(folder)
    yield from in_order([*records, *rejected], folder)


def _records(
    given: ReaderOptions,
    protein: str,
    files: Mapping[str, Path],
    unknown: UnknownLabels,
    reject: Callable[[str, str], None],
) -> list[ImageRecord]:
    present = next(iter(files.values()))
    if missing := [part for part in STAINS if part not in files]:
        listed = " and ".join(f"{protein}_{part}.npy" for part in missing)
        reject(shown(present, given.root), f"missing {listed}")
        return []
    shapes = {}
    for part in STAINS:
        try:
            shapes[part] = open_npy(files[part]).shape
        except (InputError, ImageRejectedError) as error:
            reject(shown(files[part], given.root), str(error))
            return []
    if shapes["nuc"] != shapes["pro"] or len(shapes["pro"]) not in (3, 4):
        reason = f"shapes {shapes['pro']} (pro) and {shapes['nuc']} (nuc); both must be (cells, height, width)"
        reject(shown(files["pro"], given.root), reason)
        return []
    n_cells = shapes["pro"][0]
    labels: Sequence[tuple[str, str, str]] | None = None
    if "label" in files:
        try:
            labels = _labels(files["label"], n_cells)
        except (InputError, ImageRejectedError) as error:
            # the images are good, so they are kept without labels, and this line says so
            reject(shown(files["label"], given.root), f"{error}; its cells stay unlabelled")
    return [_record(given, protein, files, row, labels[row] if labels else None, unknown) for row in range(n_cells)]


def _labels(path: Path, n_cells: int) -> Sequence[tuple[str, str, str]]:
    array = open_npy(path)
    if array.ndim != 2 or array.shape[1] < len(LABEL_COLUMNS) or array.dtype.kind not in "US":
        message = (
            f"shape {array.shape}, dtype {array.dtype}; text of ({n_cells}, 3) expected: {', '.join(LABEL_COLUMNS)}"
        )
        raise InputError(message)
    if len(array) != n_cells:
        message = f"{len(array)} labels for {n_cells} cells"
        raise InputError(message)
    text = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
    return [(str(ensembl), str(name), str(place)) for ensembl, name, place, *_ in text.tolist()]


def _record(
    given: ReaderOptions,
    protein: str,
    files: Mapping[str, Path],
    row: int,
    label: tuple[str, str, str] | None,
    unknown: UnknownLabels,
) -> ImageRecord:
    ensembl, name, place = label or ("", "", "")
    vocabulary = get_vocabulary("opencell")
    return ImageRecord(
        id=make_id(given.spec.name, f"{protein}/{row}"),
        level="cell",
        dataset=given.spec.name,
        sources=tuple(Source(files[part], (meaning,)) for part, meaning in STAINS.items()),
        protein=name or protein,
        ensembl_id=ensembl or None,
        cell_line=CELL_LINE,
        localizations=vocabulary.label_set(parse_labels(place), unknown),
        row=row,
    )
