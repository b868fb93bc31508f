"""Fetch OpenCell's images and localization annotations from their public places, whole or in part.

Run as `python scripts/get_opencell.py FOLDER`; `--help` tells how to ask for some genes, classes or fields only, and
`--dry-run` how much it is. Nothing needs an account. What has come stays: the same command goes on after a break.

The folder then has the bucket's layout, `manifest.csv` and `fetched.json`, and can be indexed:
`locatlas index FOLDER --dataset opencell --atlas ATLAS`.

Sources: the bucket s3://czb-opencell (us-west-2, anonymous) and its layout, czbiohub-sf/opencell-portal-pub,
client/src/views/download/Download.jsx: 6,301 projections of 1.4 MB, 6,301 stacks of 100 to 150 MB. The table's address:
jmhb0/opencell_ppi. Neither could be fetched where this was written; the code is tested against servers on one machine.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click
from fetching.choose import by_class
from fetching.command import NOT_FETCHED_HERE, carry_out, fetching_options, finish, hold, main, names_of, session_of
from fetching.errors import FetchError
from fetching.http import Session
from fetching.plan import Plan, Remote, relative_path
from fetching.s3 import list_objects, url_of
from fetching.tables import keep_table, kept_table
from fetching.verify import sha256

from locatlas.cli.common import notice
from locatlas.errors import InputError
from locatlas.indexer.datasets.opencell import ANNOTATION_FILES, FILE_NAME
from locatlas.indexer.labels import parse_labels

BUCKET = "https://czb-opencell.s3.us-west-2.amazonaws.com"
PREFIX = "microscopy/raw/"
TABLE = "https://opencell.czbiohub.org/data/datasets/opencell-localization-annotations.csv"
TABLE_SHA256 = "14cf3536d9d3699460dd34e166d001a34e5430fb551488538b9468107f9f10b6"
"""Of the copy with 1,310 proteins that the counts in docs/protocols.md are of; the portal says it updates the table."""
LICENCE = "CC BY-SA 4.0, OpenCell (doi:10.1126/science.abi6983)"
NEEDED = ("target_name", "annotations_grade_3")
"""Columns of that table without which it is another one."""
_FEW = 12
"""Up to so many proteins are listed one by one; the whole bucket takes thirteen pages of 1,000."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which images: see the options of the command."""

    genes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    per_class: int | None = None
    single: bool = False
    kinds: tuple[str, ...] = ("proj",)
    fovs_per_protein: int | None = None
    seed: int = 0


def read_annotations(path: Path) -> dict[str, tuple[str, ...]]:
    """Grade 3 localizations by gene, from the graded table.

    Raises:
        InputError: If it is not that table.
    """
    table = kept_table(path, required=NEEDED)
    return {
        row.values["target_name"]: tuple(parse_labels(row.values["annotations_grade_3"]))
        for row in table.rows()
        if row.problem is None
    }


def chosen_genes(labels: Mapping[str, Sequence[str]], wanted: Wanted) -> set[str]:
    """Genes that are asked for by name, class and number.

    Genes that are asked for by name need not be in the table: the bucket has images of some that are not annotated.

    Raises:
        UnknownNameError: If nothing has a class.
        InputError: If nothing is left.
    """
    left = {name: labels.get(name, ()) for name in wanted.genes or labels}
    if wanted.single:
        left = {name: found for name, found in left.items() if len(found) == 1}
    if wanted.classes or wanted.per_class is not None:
        keep = by_class(left, classes=wanted.classes, per_class=wanted.per_class, seed=wanted.seed)
        left = {name: left[name] for name in keep}
    if not left:
        message = "no protein is all of what was asked for"
        raise InputError(message)
    return set(left)


def plan_images(bucket: str, genes: set[str] | None, wanted: Wanted, session: Session) -> Plan:
    """What the bucket has of some genes; None for all that it has.

    Raises:
        FetchError: If it does not list, or has nothing of them.
    """
    prefixes = [PREFIX] if genes is None or len(genes) > _FEW else [f"{PREFIX}{gene}_ENSG" for gene in sorted(genes)]
    fields: dict[str, dict[str, list[Remote]]] = defaultdict(lambda: defaultdict(list))
    for thing in (found for prefix in prefixes for found in list_objects(bucket, prefix, session)):
        match = FILE_NAME.fullmatch(thing.key.rpartition("/")[2])
        if match is None or match["kind"] not in wanted.kinds or (genes is not None and match["gene"] not in genes):
            continue
        place = relative_path([thing.key])
        fields[match["gene"]][match["fov"]].append(Remote(url_of(bucket, thing.key), place, thing.size, thing.digest))
    files = [file for gene in fields for fov in _some(fields[gene], wanted) for file in fields[gene][fov]]
    if not files:
        message = f"{bucket}: has no {' or '.join(wanted.kinds)} of what was asked for"
        raise FetchError(message)
    if genes is not None and (absent := sorted(genes - set(fields))):
        notice(f"no images of {len(absent)} of {len(genes)} proteins: {', '.join(absent[:10])}")
    return Plan.of(files)


def _some(fovs: Iterable[str], wanted: Wanted) -> list[str]:
    """Some fields of a protein; asking for more brings the same and others."""
    ordered = sorted(fovs, key=lambda fov: hashlib.sha256(f"{wanted.seed}/{fov}".encode()).digest())
    return ordered[: wanted.fovs_per_protein]


def get_table(folder: Path, url: str, session: Session) -> Path:
    """The annotations, fetched or copied unless they are there; says so where they are not the known ones.

    Raises:
        FetchError: If they are not to be had, or what comes is something else.
    """
    path = folder / ANNOTATION_FILES[0]
    if not path.is_file():
        body = Path(url).read_bytes() if Path(url).is_file() else session.read(url)
        keep_table(path, body, url, required=NEEDED)
    if sha256(path) != TABLE_SHA256:
        notice(f"{path}: not the copy with 1,310 proteins that docs/protocols.md counts; numbers may differ")
    return path


@click.command(epilog=NOT_FETCHED_HERE)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--gene", "-g", "genes", multiple=True, metavar="NAME", help="This protein; may be given several times.")
@click.option("--genes", "genes_file", type=click.Path(path_type=Path), help="Proteins from a file, one a line.")
@click.option("--class", "-c", "classes", multiple=True, metavar="NAME", help="Proteins of this grade 3 localization.")
@click.option("--per-class", type=click.IntRange(1), help="At most so many proteins of each class.")
@click.option("--single", is_flag=True, help="Only proteins with exactly one grade 3 localization (868).")
@click.option(
    "--kind", type=click.Choice(["proj", "stack", "both"]), default="proj", show_default=True,
    help="Maximum projections, or the stacks, which are a hundred times larger.",
)  # fmt: skip
@click.option("--fovs-per-protein", type=click.IntRange(1), help="At most so many fields of each; there are 4 to 6.")
@click.option("--seed", default=0, show_default=True, help="Of the choice of proteins and fields.")
@click.option("--bucket", default=BUCKET, show_default=True, help="Address of the bucket.")
@click.option("--table", default=TABLE, show_default=True, help="Annotations: address or file.")
@fetching_options(workers=8, rate=20)
def get_opencell(
    folder: Path, genes: tuple[str, ...], genes_file: Path | None, kind: str, bucket: str, table: str, workers: int,
    max_gb: float, rate: float, timeout: float, retries: int, *, dry_run: bool, **chosen: Any,
) -> None:  # fmt: skip
    """Fetch OpenCell's images and annotations to FOLDER."""
    session = session_of(rate=rate, timeout=timeout, retries=retries)
    names = tuple(names_of(genes, genes_file))
    wanted = Wanted(genes=names, kinds=("proj", "stack") if kind == "both" else (kind,), **chosen)
    hold(folder)
    labels = read_annotations(get_table(folder, table, session))
    restricted = bool(wanted.genes or wanted.classes or wanted.per_class or wanted.single)
    plan = plan_images(bucket, chosen_genes(labels, wanted) if restricted else None, wanted, session)
    click.echo(f"OpenCell: {plan.in_words()}")
    if dry_run:
        return
    asked = {name: getattr(wanted, name) for name in Wanted.__dataclass_fields__}
    about = {"source": bucket, "annotations": table, "licence": LICENCE, "asked": asked}
    carry_out(plan, folder, session, workers=workers, max_gb=max_gb, about=about)
    finish(folder, "opencell")


if __name__ == "__main__":
    main(get_opencell)
