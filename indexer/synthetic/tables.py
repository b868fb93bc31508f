"""Write the tables and the notice that stand beside the images. Touches files."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from locatlas.indexer.synthetic.files import CellBox
from locatlas.indexer.synthetic.looks import LOOKS
from locatlas.indexer.synthetic.plan import FovJob
from locatlas.indexer.synthetic.proteins import Protein

__all__ = ["ANNOTATIONS_CSV", "IF_IMAGES_CSV", "LOCATIONS_TSV", "MANIFEST_CSV", "write_tables"]

ANNOTATIONS_CSV = "opencell/opencell-localization-annotations.csv"
IF_IMAGES_CSV = "hpa/IF-image.csv"
LOCATIONS_TSV = "hpa/subcellular_location.tsv"
MANIFEST_CSV = "manifest.csv"
CELLS_CSV = "cells.csv"

_CELL_LINE = {"opencell": "HEK293T-like", "hpa": "U2OS-like"}

_README = """\
The images in this folder are made by a program (locatlas demo). They show no real cell, protein or antibody.

Genes (SYNX-..), Ensembl ids (ENSG99..), cell lines (CID99..), fields (FID99..), antibodies (HPA90....) and plates
are invented and lie outside the ranges in use; do not look them up. File names, table columns and label names follow
OpenCell and the Human Protein Atlas, so that programs that read those can be tried on this folder. Scores reached on
these images say nothing about scores on real ones.

Seed {seed}; {opencell} OpenCell-like and {hpa} HPA-like fields of view.

opencell/microscopy/raw/    ImageJ TIFF, axes CYX, uint16, channel 0 nucleus, channel 1 protein, 0.2 um per pixel
opencell/opencell-localization-annotations.csv    localizations with grades 3, 2, 1
hpa/<antibody>/             8-bit PNGs: red microtubules, green protein, blue nucleus, yellow ER; 0.32 um per pixel
hpa/IF-image.csv, hpa/subcellular_location.tsv    images and locations, in HPA's names
<source>/masks/             uint16 PNG, cells (_mask) numbered from 1, 0 background; their nuclei (_nuclei) likewise
<source>/manifest.csv       every field with its masks and labels, for readers of plain tables
<source>/cells.csv          boxes of the cells: first row and column, row and column after the last
"""

_LOCATION_COLUMNS = (
    "Gene",
    "Gene name",
    "Reliability",
    "Main location",
    "Additional location",
    "Extracellular location",
    "Enhanced",
    "Supported",
    "Approved",
    "Uncertain",
    "Single-cell variation intensity",
    "Single-cell variation spatial",
    "Cell cycle dependency",
    "GO id",
)  # HPA's subcellular_location.tsv


def write_tables(folder: Path, jobs: Sequence[FovJob], cells: Mapping[FovJob, Sequence[CellBox]], seed: int) -> None:
    """Write all tables of a collection and its README.txt."""
    by_source = {source: [job for job in jobs if job.source == source] for source in LOOKS}
    proteins = list({job.protein.gene: job.protein for job in jobs}.values())
    stained = list({job.protein.gene: job.protein for job in by_source["hpa"]}.values())
    if by_source["opencell"]:
        _write_annotations(folder / ANNOTATIONS_CSV, proteins)
    if stained:
        _write_if_images(folder / IF_IMAGES_CSV, by_source["hpa"])
        _write_locations(folder / LOCATIONS_TSV, stained)
    for source, fovs in by_source.items():
        if fovs:
            _write_manifest(folder / source / MANIFEST_CSV, fovs)
            _write_cells(folder / source / CELLS_CSV, fovs, cells)
    text = _README.format(seed=seed, opencell=len(by_source["opencell"]), hpa=len(by_source["hpa"]))
    (folder / "README.txt").write_text(text, encoding="utf-8", newline="\n")


def _write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _write_annotations(path: Path, proteins: Sequence[Protein]) -> None:
    columns = ("target_name", "ensg_id", "annotations_grade_3", "annotations_grade_2", "annotations_grade_1")
    rows = (
        (protein.gene, protein.ensembl_id, *(";".join(protein.graded(grade)) for grade in (3, 2, 1)))
        for protein in proteins
    )
    _write_rows(path, columns, rows)


def _write_if_images(path: Path, fovs: Sequence[FovJob]) -> None:
    """Columns as in SubCell's IF-image-v23-filtered.csv; status 35 stands for a usable image there."""
    columns = (
        "filename",
        "if_plate_id",
        "position",
        "sample",
        "status",
        "locations",
        "antibody",
        "ensembl_ids",
        "gene_names",
        "atlas_name",
    )
    rows = (
        (
            f"{job.protein.antibody}/{job.stem}_",
            job.plate,
            job.well,
            job.number + 1,
            35,
            ",".join(job.protein.hpa_locations),
            f"HPA{job.protein.antibody:06d}",
            job.protein.ensembl_id,
            job.protein.gene,
            _CELL_LINE["hpa"],
        )
        for job in fovs
    )
    _write_rows(path, columns, rows)


def _write_locations(path: Path, proteins: Sequence[Protein]) -> None:
    rows = (
        (
            protein.ensembl_id,
            protein.gene,
            "Uncertain",
            protein.hpa_locations[0],
            ";".join(protein.hpa_locations[1:]),
            *("", "", "", ""),
            ";".join(protein.hpa_locations),
            *("", "", "", ""),
        )
        for protein in proteins
    )
    _write_rows(path, _LOCATION_COLUMNS, rows, delimiter="\t")


def _write_manifest(path: Path, fovs: Sequence[FovJob]) -> None:
    """One row per field, in the columns of the `manifest` data set; paths relative to the table."""
    channels = list(fovs[0].image_paths())
    opencell = channels == [""]
    files = ("path", "channels") if opencell else tuple(f"path_{channel}" for channel in channels)
    masks = ("mask_path", "nucleus_mask_path")
    columns = ("id", *files, "protein", "ensembl_id", "localizations", "pixel_size_um", *masks, "cell_line")
    rows = []
    for job in fovs:
        paths = [str(path_.relative_to(job.source)) for path_ in job.image_paths().values()]
        labels = job.protein.graded(3) if opencell else job.protein.hpa_locations
        rows.append(
            (
                job.name,
                *((paths[0], "nucleus;protein") if opencell else paths),
                job.protein.gene,
                job.protein.ensembl_id,
                ";".join(labels),
                LOOKS[job.source].pixel_um,
                *(str(path_.relative_to(job.source)) for path_ in (job.mask_path(), job.nuclei_path())),
                _CELL_LINE[job.source],
            )
        )
    _write_rows(path, columns, rows)


def _write_cells(path: Path, fovs: Sequence[FovJob], cells: Mapping[FovJob, Sequence[CellBox]]) -> None:
    columns = ("fov", "cell", "top", "left", "bottom", "right", "area_px", "touches_border", "mitotic")
    rows = (
        (
            job.name,
            box.number,
            box.top,
            box.left,
            box.bottom,
            box.right,
            box.area_px,
            int(box.touches_border),
            int(box.mitotic),
        )
        for job in fovs
        for box in cells[job]
    )
    _write_rows(path, columns, rows)
