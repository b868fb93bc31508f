"""What HPA's page of one gene says of its immunofluorescence images. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from fetching.errors import FetchError
from fetching.plan import Remote, relative_path
from fetching.s3 import parse_xml

__all__ = ["IMAGE_COLUMNS", "IfImage", "images_of_page", "images_of_table", "remotes"]

_URL = re.compile(
    r"https?://[^/]+/(?:images/)?(?P<folder>\d+)/(?P<field>(?P<plate>[0-9A-Za-z]+)_(?P<well>[A-Za-z]{1,2}\d{1,2})_(?P<fov>\d+)"
    r"(?:_cr[0-9a-f]+)?)_(?P<stains>(?:blue_)?red_green)\.jpg"
)
_ANTIBODY = re.compile(r"HPA0*(\d+)")

IMAGE_COLUMNS = (
    "if_plate_id", "position", "sample", "locations", "antibody", "ensembl_ids", "gene_names", "atlas_name",
)  # fmt: skip
"""Columns of the table of images that the reader `hpa` takes."""


@dataclass(frozen=True, slots=True)
class IfImage:
    """One field of view.

    Attributes:
        folder: HPA's number of the antibody, a folder on the site.
        field: `{plate}_{well}_{fov}`, with a crop tag where it has one.
        has_blue: Whether the page names a picture with the nucleus; it may exist where it does not.
        row: What is known of it, by `IMAGE_COLUMNS`.
    """

    folder: str
    field: str
    has_blue: bool
    row: Mapping[str, str]


def images_of_page(body: bytes, url: str) -> list[IfImage]:
    """All fields on a gene's page (`https://www.proteinatlas.org/{ENSG}.xml`).

    The path `antibody/cellExpression/subAssay[@type="human"]/data` with `cellLine`, `location` and
    `assayImage/image/imageUrl` is that of scripts that read the pages of releases 18 and 22; a page could not be
    fetched where this was written.

    Args:
        body: The page.
        url: Named in errors.

    Raises:
        FetchError: If it is not such a page.
    """
    root = parse_xml(body, url)
    entry = root if root.tag == "entry" else root.find("entry")
    if entry is None:
        message = f"{url}: not the page of a gene"
        raise FetchError(message)
    identifier = entry.find("identifier")
    gene = {
        "gene_names": _text(entry, "name"),
        "ensembl_ids": identifier.get("id", "") if identifier is not None else "",
    }
    found: dict[tuple[str, str], IfImage] = {}
    for antibody in entry.iter("antibody"):
        for data in antibody.iterfind("cellExpression/subAssay[@type='human']/data"):
            about = gene | {
                "antibody": antibody.get("id", ""),
                "atlas_name": _text(data, "cellLine"),
                "locations": ",".join(where for e in data.iterfind("location") if (where := (e.text or "").strip())),
            }
            for image in _images(data, about):
                found.setdefault((image.folder, image.field), image)
    return list(found.values())


def _images(data: Element, about: Mapping[str, str]) -> Iterator[IfImage]:
    for address in data.iterfind("assayImage/image/imageUrl"):
        if match := _URL.fullmatch((address.text or "").strip()):
            row = {"if_plate_id": match["plate"], "position": match["well"], "sample": match["fov"], **about}
            yield IfImage(match["folder"], match["field"], match["stains"].startswith("blue"), row)


def _text(element: Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def images_of_table(rows: Sequence[Mapping[str, str]]) -> tuple[list[IfImage], int]:
    """Fields of a table of images as HPA passes it on, and how many have no address.

    The folder on the site is the number in the antibody's name, HPA000992 in 992. Antibodies of others (CAB...) lie in
    folders that the table does not tell.

    Args:
        rows: With at least if_plate_id, position, sample and antibody.
    """
    images, without = [], 0
    for row in rows:
        first = re.split(r"[;,]", row.get("antibody", ""))[0].strip()
        if (match := _ANTIBODY.fullmatch(first)) is None:
            without += 1
            continue
        known = {name: row.get(name, "") for name in IMAGE_COLUMNS}
        field = f"{row['if_plate_id']}_{row['position']}_{row['sample']}"
        images.append(IfImage(match[1], field, has_blue=True, row=known))
    return images, without


def remotes(image: IfImage, *, site: str, colours: Sequence[str], suffix: str) -> list[Remote]:
    """The files of a field: one per stain.

    Args:
        image: Which.
        site: Where images are, e.g. https://images.proteinatlas.org.
        colours: Of blue, red, green, yellow. Yellow (ER) may be missing, as may blue where the page does not show it.
        suffix: `jpg`, or `tif.gz` for the full depth of bits.
    """
    may_lack = {"yellow"} if image.has_blue else {"yellow", "blue"}
    names = [(colour, f"{image.field}_{colour}.{suffix}") for colour in colours]
    return [
        Remote(
            f"{site.rstrip('/')}/{image.folder}/{name}",
            relative_path([image.folder, name]),
            optional=colour in may_lack,
        )
        for colour, name in names
    ]
