"""HPA's tables: what each image shows, and where each gene's protein was seen. Reads tables."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from locatlas.indexer.datasets.options import ReaderOptions
from locatlas.indexer.datasets.tables import find_table, open_table, rejected_rows
from locatlas.indexer.labels import UnknownLabels, get_vocabulary, parse_labels

__all__ = ["Annotation", "ImageRow", "Tables", "read_tables"]

logger = logging.getLogger(__name__)

IMAGE_COLUMNS = ("if_plate_id", "position", "sample")
GENE_COLUMNS = ("Gene", "Gene name", "Main location")
LIST = re.compile(r"[;,]")


@dataclass(frozen=True, slots=True)
class Annotation:
    """Where a protein was seen, and who says so."""

    localizations: tuple[str, ...] = ()
    ensembl_id: str | None = None
    reliability: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """What the IF image table says of one field; the first of several genes is its protein."""

    gene: str | None
    ensembl_id: str | None
    antibody: str | None
    cell_line: str | None
    localizations: tuple[str, ...]
    metadata: Mapping[str, str]


@dataclass(slots=True)
class Tables:
    """Both tables, looked up by image and by gene.

    Attributes:
        images: By (plate, well, field).
        genes: By Ensembl id and by gene symbol.
        image_source: Name of the IF image table's file.
        unknown: Labels that HPA's vocabulary does not have.
    """

    images: dict[tuple[str, str, str], ImageRow] = field(default_factory=dict)
    genes: dict[str, Annotation] = field(default_factory=dict)
    image_source: str = ""
    unknown: UnknownLabels = field(default_factory=lambda: UnknownLabels(get_vocabulary("hpa")))

    def label(self, row: ImageRow | None, gene: str | None) -> Annotation:
        """Localizations of an image: those of its own row, else those of its gene (by Ensembl id, then by name)."""
        keys = [key for key in ((row.ensembl_id if row else None), gene) if key]
        of_gene = next((self.genes[key] for key in keys if key in self.genes), Annotation())
        if row is not None and row.localizations:
            return Annotation(row.localizations, of_gene.ensembl_id, of_gene.reliability, self.image_source)
        return of_gene


def read_tables(given: ReaderOptions, files: Sequence[Path], reject: Callable[[str, str], None]) -> Tables:
    """The tables given as options, else those found below the root or directly next to it.

    Raises:
        InputError: If a table that was given or found cannot be read.
    """
    folder = given.folder
    candidates = [*files, *_beside(folder)]
    tables = Tables()
    image_table = given.path("table") or find_table(candidates, lambda c: set(IMAGE_COLUMNS) <= set(c))
    if image_table:
        tables.image_source = image_table.name
        _read_images(image_table, tables, reject)
    gene_table = given.path("subcellular") or find_table(candidates, lambda c: set(GENE_COLUMNS) <= set(c))
    if gene_table:
        _read_genes(gene_table, tables, reject)
    logger.info("%s: images from %s, genes from %s", folder, image_table or "nowhere", gene_table or "nowhere")
    return tables


def _beside(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.parent.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        logger.info("%s: not looked into for tables: %s", folder.parent, error.strerror)
        return []


def _first(text: str) -> str | None:
    return next((part.strip() for part in LIST.split(text) if part.strip()), None)


def _read_images(path: Path, tables: Tables, reject: Callable[[str, str], None]) -> None:
    table = open_table(path, required=IMAGE_COLUMNS)
    vocabulary = get_vocabulary("hpa")
    for row in rejected_rows(table, table.rows(), reject):
        value = row.values
        key = (value["if_plate_id"], value["position"].upper(), value["sample"])
        labels = parse_labels(LIST.sub(";", value.get("locations", "")))
        gene_names, ensembl_ids = value.get("gene_names", ""), value.get("ensembl_ids", "")
        metadata = {name: value.get(name, "") for name in ("status", "filename")}
        if LIST.search(gene_names):
            metadata |= {"gene_names": gene_names, "ensembl_ids": ensembl_ids}
        image = ImageRow(
            gene=_first(gene_names),
            ensembl_id=_first(ensembl_ids),
            antibody=_first(value.get("antibody", "")),
            cell_line=value.get("atlas_name") or None,
            localizations=vocabulary.label_set(labels, tables.unknown),
            metadata=metadata,
        )
        if tables.images.setdefault(key, image) is not image and tables.images[key] != image:
            reject(f"{path.name} line {row.line}", f"image {'_'.join(key)} is listed twice; its first row is kept")


def _read_genes(path: Path, tables: Tables, reject: Callable[[str, str], None]) -> None:
    table = open_table(path, required=GENE_COLUMNS)
    vocabulary = get_vocabulary("hpa")
    for row in rejected_rows(table, table.rows(), reject):
        value = row.values
        joined = f"{value['Main location']};{value.get('Additional location', '')}"
        annotation = Annotation(
            vocabulary.label_set(parse_labels(joined), tables.unknown),
            value["Gene"] or None,
            value.get("Reliability", ""),
            path.name,
        )
        for key in (value["Gene"], value["Gene name"]):
            if key:
                tables.genes.setdefault(key, annotation)
