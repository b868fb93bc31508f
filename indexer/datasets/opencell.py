"""OpenCell: the public bucket's layout, with its graded annotations joined by gene name. Reads names and tables."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from locatlas.errors import InputError
from locatlas.indexer.datasets.options import ReaderOptions, Reject
from locatlas.indexer.datasets.pixel_size import with_pixel_size
from locatlas.indexer.datasets.scan import IMAGE_SUFFIXES, file_problem, find_files, in_order, make_id, shown
from locatlas.indexer.datasets.tables import open_table, rejected_rows
from locatlas.indexer.labels import UnknownLabels, get_vocabulary, parse_labels
from locatlas.indexer.records import ImageRecord, RejectedSource, Source

__all__ = ["read"]

logger = logging.getLogger(__name__)

# czbiohub-sf/opencell-portal-pub: underscores separate the fields because gene names contain dashes (and dots).
FILE_NAME = re.compile(
    r"OC-FOV_(?P<gene>.+)_(?P<ensg>ENSG\d+)_(?P<line>CID\d+)_(?P<fov>FID\d+)_(?P<kind>proj|stack)\.tiff?"
)
FILE_PREFIX = "OC-FOV"
CHANNELS = ("nucleus", "protein")
CELL_LINE = "HEK293T"

# Graded form first: it also says of a protein that it has no grade 3 label.
ANNOTATION_FILES = ("opencell-localization-annotations.csv", "2021-09-29-public-annotations-flat.csv")
GRADES = (3, 2, 1)
COUNTED_GRADE = 3

BUCKET_EDGE_PX = 600


@dataclass(frozen=True, slots=True)
class _Annotation:
    ensembl_id: str
    graded: tuple[tuple[str, int], ...]


def read(given: ReaderOptions) -> Iterator[ImageRecord | RejectedSource]:
    """Records of all fields below the root; see `registry.read_records`."""
    folder = given.folder
    found = find_files(folder)
    rejected, reject = given.rejecting()
    table = given.path("annotations") or _annotation_file(folder, found.files)
    annotations = _annotations(table, reject) if table else {}
    logger.info("%s: annotations from %s", folder, table or "nowhere")
    records = _records(given, found.files, annotations, table, reject)
    # `rejected` is filled while the records are made
    for item in in_order([*records, *rejected], folder):
        if isinstance(item, ImageRecord):
            item = with_pixel_size(
                item,
                full_edge_px=BUCKET_EDGE_PX,
                full_um=given.spec.pixel_size_um,
                called="600 px field of the OpenCell bucket",
            )
        yield item


def _annotation_file(folder: Path, files: Sequence[Path]) -> Path | None:
    """The annotations below the folder, nearest first, or next to it (or to the bucket layout that it is part of)."""
    base = folder.parent.parent if (folder.parent.name, folder.name) == ("microscopy", "raw") else folder
    beside = [place / name for place in (base, base / "tables", base.parent) for name in ANNOTATION_FILES]
    for name in ANNOTATION_FILES:
        below = [p for p in files if p.name == name]
        for path in [*sorted(below, key=lambda p: (len(p.parts), p.parts)), *(p for p in beside if p.name == name)]:
            if path.is_file():
                return path
    return None


def _annotations(path: Path, reject: Reject) -> dict[str, _Annotation]:
    """Graded labels by gene name, from either form.

    Raises:
        InputError: If the table is neither form.
    """
    table = open_table(path, required=("target_name", "ensg_id"))
    graded_columns = [f"annotations_grade_{grade}" for grade in GRADES]
    unknown = UnknownLabels(get_vocabulary("opencell"))
    found: dict[str, tuple[str, set[tuple[str, int]]]] = {}
    if all(name in table.columns for name in graded_columns):
        for row in rejected_rows(table, table.rows(), reject):
            gene = row.values["target_name"]
            if gene in found:
                reject(f"{path.name} line {row.line}", f"gene {gene!r} is listed twice; its first row is kept")
                continue
            joined = zip(GRADES, graded_columns, strict=True)
            pairs = {(label, grade) for grade, name in joined for label in parse_labels(row.values[name])}
            found[gene] = (row.values["ensg_id"], pairs)
    elif {"annotation_name", "annotation_grade"} <= set(table.columns):
        for row in rejected_rows(table, table.rows(), reject):
            grade = row.values["annotation_grade"]
            if grade not in map(str, GRADES):
                reject(f"{path.name} line {row.line}", f"grade {grade!r} is not 1, 2 or 3")
                continue
            gene = row.values["target_name"]
            pairs = found.setdefault(gene, (row.values["ensg_id"], set()))[1]
            pairs |= {(label, int(grade)) for label in parse_labels(row.values["annotation_name"])}
    else:
        message = f"{path}: neither {', '.join(graded_columns)} nor annotation_name, annotation_grade among its columns"
        raise InputError(message)
    vocabulary = get_vocabulary("opencell")
    for _, pairs in found.values():
        vocabulary.label_set((label for label, _ in pairs), unknown)
    unknown.log(path)
    return {gene: _Annotation(ensg, tuple(sorted(pairs))) for gene, (ensg, pairs) in found.items()}


def _records(
    given: ReaderOptions,
    files: Sequence[Path],
    annotations: dict[str, _Annotation],
    table: Path | None,
    reject: Reject,
) -> list[ImageRecord]:
    records: list[ImageRecord] = []
    stacks: list[ImageRecord] = []
    n_foreign = 0
    for path in files:
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            if path.name.startswith(FILE_PREFIX):
                reject(shown(path, given.root), "the name is not OC-FOV_{gene}_{ENSG}_{CID}_{FID}_{proj|stack}.tif")
            n_foreign += path.name.lower().endswith(IMAGE_SUFFIXES) and not path.name.startswith(FILE_PREFIX)
        elif problem := file_problem(path, given.roots):
            reject(shown(path, given.root), problem)
        else:
            record = _record(given, path, match, annotations, table)
            (records if match["kind"] == "proj" else stacks).append(record)
    if n_foreign:
        logger.info("%s: %d image files of other names were left alone", given.root, n_foreign)
    projected = {record.id for record in records}
    return records + [stack for stack in stacks if stack.id not in projected]


def _record(
    given: ReaderOptions, path: Path, match: re.Match[str], annotations: dict[str, _Annotation], table: Path | None
) -> ImageRecord:
    annotation = annotations.get(match["gene"])
    metadata = {"cell_line_id": match["line"], "file_kind": match["kind"]}
    if annotation and table:
        metadata["annotations"] = table.name
        if annotation.ensembl_id != match["ensg"]:
            # Ensembl ids of file names and tables differ for some targets, and the gene name is what joins
            metadata["annotated_ensembl_id"] = annotation.ensembl_id
    graded = annotation.graded if annotation else ()
    return ImageRecord(
        id=make_id(given.spec.name, match["fov"]),
        level="fov",
        dataset=given.spec.name,
        sources=(Source(path, CHANNELS),),
        protein=match["gene"],
        ensembl_id=match["ensg"],
        cell_line=CELL_LINE,
        localizations=tuple(sorted({label for label, grade in graded if grade == COUNTED_GRADE})),
        graded=graded,
        metadata=metadata,
    )
