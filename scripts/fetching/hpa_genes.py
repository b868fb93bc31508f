"""Which genes HPA knows, and the images on their pages. Uses the network, and keeps what it read."""

import dataclasses
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fetching.choose import by_class
from fetching.errors import FetchError, NotThereError
from fetching.hpa_pages import IfImage, images_of_page
from fetching.http import Session
from fetching.plan import relative_path
from fetching.tables import keep_table, kept_table
from locatlas.cli.common import notice
from locatlas.cli.progress import progress_bar
from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.datasets.hpa_tables import GENE_COLUMNS
from locatlas.indexer.labels import parse_labels
from locatlas.indexer.store.atomic import write_atomically

__all__ = ["Gene", "chosen", "get_genes", "read_pages"]

TABLE = "download/tsv/subcellular_location.tsv.zip"
_MAX_TABLE_BYTES = 200 << 20
_ENSEMBL_ID = re.compile(r"ENSG[0-9]{11}")
"""Of a human gene. It becomes part of an address and of a file's name, so nothing else may."""


@dataclass(frozen=True, slots=True)
class Gene:
    """A row of subcellular_location.tsv."""

    ensembl_id: str
    name: str
    reliability: str
    main: tuple[str, ...]
    additional: tuple[str, ...]


def get_genes(folder: Path, site: str, session: Session) -> dict[str, Gene]:
    """HPA's table of genes by Ensembl id, fetched unless it is there; rows of anything else are counted and left out.

    Raises:
        FetchError: If it is not to be had, or is not a table in a ZIP archive.
        InputError: If it has other columns, or no gene.
    """
    path = folder / "subcellular_location.tsv"
    if not path.is_file():
        url = f"{site.rstrip('/')}/{TABLE}"
        try:
            with zipfile.ZipFile(io.BytesIO(session.read(url))) as archive:
                if archive.getinfo(path.name).file_size > _MAX_TABLE_BYTES:
                    message = f"{url}: unpacks to more than {_MAX_TABLE_BYTES >> 20} MiB"
                    raise FetchError(message)
                keep_table(path, archive.read(path.name), url, required=GENE_COLUMNS)
        except (zipfile.BadZipFile, KeyError) as error:
            raise FetchError(f"{url}: not an archive with {path.name} ({error})") from error
    rows = list(kept_table(path, required=GENE_COLUMNS).rows())
    usable = [row.values for row in rows if row.problem is None and _ENSEMBL_ID.fullmatch(row.values["Gene"])]
    if not usable:
        message = f"{path}: no row has the Ensembl id of a human gene"
        raise InputError(message)
    if n_others := len(rows) - len(usable):
        notice(f"{path}: {n_others} of {len(rows)} rows left out: broken, or without the Ensembl id of a human gene")
    return {
        row["Gene"]: Gene(
            row["Gene"],
            row["Gene name"],
            row.get("Reliability", ""),
            tuple(parse_labels(row["Main location"])),
            tuple(parse_labels(row.get("Additional location", ""))),
        )
        for row in usable
    }


def chosen(
    genes: Mapping[str, Gene],
    *,
    names: Sequence[str] = (),
    locations: Sequence[str] = (),
    per_location: int | None = None,
    reliability: Sequence[str] = (),
    single: bool = False,
    seed: int = 0,
) -> list[Gene]:
    """Genes that are asked for by name (symbol or Ensembl id), main location, number and reliability.

    Raises:
        UnknownNameError: If a name or location is not in the table.
        InputError: If nothing is left.
    """
    by_name = {gene.name: gene for gene in genes.values()} | dict(genes)
    for name in names:
        if name not in by_name:
            raise UnknownNameError("gene", name, by_name)
    left = [by_name[name] for name in names] if names else list(genes.values())
    left = [g for g in left if not reliability or g.reliability in reliability]
    left = [g for g in left if not single or len({*g.main, *g.additional}) == 1]
    if locations or per_location is not None:
        keep = by_class({g.ensembl_id: g.main for g in left}, classes=locations, per_class=per_location, seed=seed)
        left = [g for g in left if g.ensembl_id in keep]
    if not left:
        message = "no gene is all of what was asked for"
        raise InputError(message)
    return sorted(set(left), key=lambda g: g.ensembl_id)


def read_pages(genes: Sequence[Gene], folder: Path, site: str, session: Session, workers: int) -> list[IfImage]:
    """Images of genes, by their pages.

    What a page said is kept in `.pages` with its address, so that none is asked for twice. A page without images and
    one that is not there are asked for again: the site, or what is understood of it, may have been wrong.

    Raises:
        FetchError: If a page is not to be had, or no page has images. A gene without a page has none; how many there
            are of both is told.
    """
    lacking = {"have no page": 0, "have a page without images": 0}

    def of(gene: Gene) -> tuple[list[IfImage], str]:
        kept = folder / ".pages" / relative_path([f"{gene.ensembl_id}.json"])
        url = f"{site.rstrip('/')}/{gene.ensembl_id}.xml"
        if images := _kept(kept, url):
            return images, ""
        try:
            images = images_of_page(session.read(url), url)
        except NotThereError:
            return [], "have no page"
        if not images:
            return [], "have a page without images"
        document = {"url": url, "images": [dataclasses.asdict(one) for one in images]}
        write_atomically(kept, json.dumps(document).encode())
        return images, ""

    found: list[IfImage] = []
    with ThreadPoolExecutor(workers) as pool, progress_bar() as progress:
        try:
            for number, (images, lack) in enumerate(pool.map(of, genes), 1):
                found += images
                if lack:
                    lacking[lack] += 1
                if progress is not None:
                    progress("pages of genes", number, len(genes))
        except BaseException:  # Ctrl-C above all: what waits in other threads is to end; raised again
            session.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    told = ", ".join(f"{n} {lack}" for lack, n in lacking.items() if n)
    if not found:
        message = f"{site}: no images of what was asked for: of {len(genes)} genes {told}; the site may have changed"
        raise FetchError(message)
    if told:
        notice(f"{site}: of {len(genes)} genes {told}")
    return found


def _kept(path: Path, url: str) -> list[IfImage]:
    """Images of a page that was read before; none where nothing is kept, or what is kept is of another address."""
    if not path.is_file():
        return []
    noted = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(noted, dict) or noted.get("url") != url:  # a list, as it was kept at first, tells no address
        return []
    return [IfImage(**one) for one in noted["images"]]
