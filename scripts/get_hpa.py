"""Fetch immunofluorescence images and tables of the Human Protein Atlas, for some genes, from its public site.

Run as `python scripts/get_hpa.py FOLDER --gene CCNB1 --gene ENSG00000113368` or by location, `--location Nucleoli
--per-location 20`; `--dry-run` tells how much it is. The site has no archive of its images, so each is asked for by its
own address, slowly (`--rate`). What has come stays: the same command goes on after a break.

The folder then has {antibody}/{plate}_{well}_{fov}_{colour}.jpg, the table of these images with their locations,
subcellular_location.tsv, `manifest.csv` and `fetched.json`, and can be indexed:
`locatlas index FOLDER --dataset hpa --atlas ATLAS`.

Sources: addresses of images, HPA_IMG_download.py of nickdeveaux/Dino4Cells_analysis and others; pages of genes,
proteinatlas.org/about/help/dataaccess; the table, proteinatlas.org/about/download. None could be fetched where this was
written; the code is tested against a server on the same machine.
"""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import rich_click as click
from fetching.command import NOT_FETCHED_HERE, carry_out, fetching_options, finish, hold, main, names_of, session_of
from fetching.hpa_genes import chosen, get_genes, read_pages
from fetching.hpa_pages import IMAGE_COLUMNS, IfImage, images_of_table, remotes
from fetching.sizes import with_guess

from locatlas.cli.common import notice
from locatlas.errors import InputError
from locatlas.indexer.datasets.hpa_tables import IMAGE_COLUMNS as NEEDED_COLUMNS
from locatlas.indexer.datasets.tables import open_table
from locatlas.indexer.labels import parse_labels
from locatlas.indexer.store.atomic import write_atomically

SITE = "https://www.proteinatlas.org"
IMAGES = "https://images.proteinatlas.org"
LICENCE = "CC BY-SA 3.0, 4.0 or CC BY 4.0 by release; Human Protein Atlas, proteinatlas.org"
COLOURS = ("blue", "red", "green", "yellow")
IMAGE_TABLE = "IF-image.csv"


def read_table(path: Path, genes: set[str] | None) -> list[IfImage]:
    """Images of a table as HPA passes it on; of some genes (Ensembl ids) only, or of all.

    Raises:
        InputError: If it has other columns.
    """
    table = open_table(path, required=(*NEEDED_COLUMNS, "antibody"))
    rows = [row.values for row in table.rows() if row.problem is None]
    wanted = [
        row for row in rows if genes is None or genes & set(parse_labels(row.get("ensembl_ids", "").replace(",", ";")))
    ]
    images, without = images_of_table(wanted)
    if without:
        notice(f"{path}: {without} images are of antibodies whose folder on the site is not known (not HPA...)")
    return images


def some(images: Iterable[IfImage], *, fields: int | None, cell_lines: Sequence[str], seed: int) -> list[IfImage]:
    """Fields in some cell lines, at most so many of each gene; asking for more brings the same and others.

    Raises:
        InputError: If nothing is left.
    """
    by_gene: dict[str, list[IfImage]] = defaultdict(list)
    for image in images:
        if not cell_lines or image.row["atlas_name"] in cell_lines:
            by_gene[image.row["ensembl_ids"]].append(image)

    def place(image: IfImage) -> bytes:
        return hashlib.sha256(f"{seed}/{image.folder}/{image.field}".encode()).digest()

    left = [image for found in by_gene.values() for image in sorted(found, key=place)[:fields]]
    if not left:
        message = "no images of what was asked for"
        raise InputError(message)
    return left


def write_images_table(folder: Path, images: Sequence[IfImage]) -> None:
    """Add to the table of images that the reader takes: rows of earlier runs are kept."""
    path = folder / IMAGE_TABLE
    rows: dict[tuple[str, ...], Mapping[str, str]] = {}
    if path.is_file():
        earlier = (row.values for row in open_table(path, required=IMAGE_COLUMNS).rows() if row.problem is None)
        rows = {tuple(row[name] for name in NEEDED_COLUMNS): row for row in earlier}
    rows |= {tuple(image.row[name] for name in NEEDED_COLUMNS): image.row for image in images}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, IMAGE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[key] for key in sorted(rows))
    write_atomically(path, text.getvalue().encode())


@click.command(epilog=NOT_FETCHED_HERE)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--gene", "-g", "genes", multiple=True, metavar="NAME", help="This gene: symbol or Ensembl id.")
@click.option("--genes", "genes_file", type=click.Path(path_type=Path), help="Genes from a file, one a line.")
@click.option("--location", "-l", "locations", multiple=True, metavar="NAME", help="Genes of this main location.")
@click.option("--per-location", type=click.IntRange(1), help="At most so many genes of each main location.")
@click.option(
    "--reliability", multiple=True, type=click.Choice(["Enhanced", "Supported", "Approved", "Uncertain"]),
    help="Of the location; may be given several times. Default: any.",
)  # fmt: skip
@click.option("--single", is_flag=True, help="Only genes with exactly one location, main and additional together.")
@click.option("--cell-line", "cell_lines", multiple=True, metavar="NAME", help="Fields of this cell line, e.g. U2OS.")
@click.option("--fovs-per-gene", type=click.IntRange(1), help="At most so many fields of each gene.")
@click.option(
    "--format", "suffix", type=click.Choice(["jpg", "tif.gz"]), default="jpg", show_default=True,
    help="tif.gz has the full depth of bits and is many times larger.",
)  # fmt: skip
@click.option("--table", type=click.Path(path_type=Path), help="A table of IF images, instead of the genes' pages.")
@click.option("--seed", default=0, show_default=True, help="Of the choice of genes and fields.")
@click.option("--site", default=SITE, show_default=True, help="Where pages and tables are.")
@click.option("--images", "images_site", default=IMAGES, show_default=True, help="Where images are.")
@fetching_options(workers=4, rate=4)
def get_hpa(
    folder: Path,
    genes: tuple[str, ...],
    genes_file: Path | None,
    locations: tuple[str, ...],
    per_location: int | None,
    reliability: tuple[str, ...],
    cell_lines: tuple[str, ...],
    fovs_per_gene: int | None,
    suffix: str,
    table: Path | None,
    seed: int,
    site: str,
    images_site: str,
    workers: int,
    rate: float,
    timeout: float,
    retries: int,
    max_gb: float,
    *,
    single: bool,
    dry_run: bool,
) -> None:
    """Fetch images and tables of the Human Protein Atlas to FOLDER."""
    session = session_of(rate=rate, timeout=timeout, retries=retries)
    names = names_of(genes, genes_file)
    asked = {"locations": locations, "per_location": per_location, "reliability": reliability, "single": single}
    if not names and not any(asked.values()) and table is None:
        message = "ask for some genes: --gene, --genes, --location, --per-location, --reliability, --single or --table"
        raise click.UsageError(message)
    hold(folder)
    picked = chosen(get_genes(folder, site, session), names=names, seed=seed, **asked)  # type: ignore[arg-type]
    if table is not None:
        restricted = bool(names) or any(asked.values())
        found = read_table(table, {gene.ensembl_id for gene in picked} if restricted else None)
    else:
        found = read_pages(picked, folder, site, session, workers)
    images = some(found, fields=fovs_per_gene, cell_lines=cell_lines, seed=seed)
    fields = [remotes(image, site=images_site, colours=COLOURS, suffix=suffix) for image in images]
    plan = with_guess(fields, session)
    n_genes = len({image.row["ensembl_ids"] for image in images})
    click.echo(f"Human Protein Atlas: {len(images):,} fields of {n_genes:,} genes, {plan.in_words()}")
    if dry_run:
        return
    write_images_table(folder, images)
    about = {"source": images_site, "tables": site, "licence": LICENCE, "asked": {**asked, "genes": names}}
    carry_out(plan, folder, session, workers=workers, max_gb=max_gb, about=about)
    finish(folder, "hpa")


if __name__ == "__main__":
    main(get_hpa)
