"""Human Protein Atlas: files with the site's names, fields of view and single-cell crops. Reads names and tables."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from locatlas.indexer.datasets.hpa_tables import Annotation, ImageRow, Tables, read_tables
from locatlas.indexer.datasets.options import ReaderOptions, Reject
from locatlas.indexer.datasets.pixel_size import with_pixel_size
from locatlas.indexer.datasets.scan import IMAGE_SUFFIXES, file_problem, find_files, in_order, make_id, shown
from locatlas.indexer.records import ImageRecord, RejectedSource, Source

__all__ = ["COLOURS", "read"]

logger = logging.getLogger(__name__)

# images.proteinatlas.org: {plate}_{well}_{fov}, sometimes a crop tag, for cut-out cells a number, then the stain.
FILE_NAME = re.compile(
    r"(?P<field>(?P<plate>[0-9A-Za-z]+)_(?P<well>[A-Za-z]{1,2}[0-9]{1,2})_(?P<fov>[0-9]+))"
    r"(?:_(?P<crop>cr[0-9a-f]+))?(?:_(?P<cell>[0-9]+))?"
    r"_(?P<stains>(?:blue|red|green|yellow)(?:_(?:blue|red|green|yellow))*)"
    r"\.(?P<suffix>tif\.gz|tiff\.gz|tiff?|png|jpe?g)"
)
# HPA-Cell-Segmentation's masks of fields, as they lie beside the images in CZI's copy of HPA.
MASK_NAME = re.compile(
    r"(?P<base>[0-9A-Za-z]+_[A-Za-z]{1,2}[0-9]{1,2}_[0-9]+_(?:cr[0-9a-f]+_)?)(?P<kind>cellmask|nucleimask)"
    r"\.(?:png|tiff?|npy|npz)"
)
STAIN_LIKE = re.compile(r".*(?:^|[_-])(?:blue|red|green|yellow)\.(?:tif\.gz|tiff\.gz|tiff?|png|jpe?g)", re.IGNORECASE)

COLOURS = {"red": "microtubules", "green": "protein", "blue": "nucleus", "yellow": "er"}
NEEDED = ("blue", "green")

# Full bit depth first, lossy last; one image is never put together from several formats.
SUFFIXES = ("tif.gz", "tiff.gz", "tif", "tiff", "png", "jpg", "jpeg")

FULL_EDGE_PX = 2048


@dataclass(slots=True)
class _Image:
    """The files of one field or cell in one folder: path by format and stains, masks by kind."""

    match: re.Match[str]
    folder: Path
    files: dict[str, dict[str, Path]] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)


def read(given: ReaderOptions) -> Iterator[ImageRecord | RejectedSource]:
    """Records of all fields and cells below the root; see `registry.read_records`."""
    folder = given.folder
    found = find_files(folder)
    rejected, reject = given.rejecting()
    tables = read_tables(given, found.files, reject)
    records = [
        record
        for image in _images(given, found.files, reject)
        if (record := _record(given, image, tables, reject)) is not None
    ]
    for item in in_order([*records, *rejected], folder):
        if isinstance(item, ImageRecord):
            item = with_pixel_size(
                item, full_edge_px=FULL_EDGE_PX, full_um=given.spec.pixel_size_um, called="2048 px field of HPA"
            )
        yield item
    tables.unknown.log(folder)


def _images(given: ReaderOptions, files: Sequence[Path], reject: Reject) -> list[_Image]:
    """Files put together by folder and name without stain, in the order of their paths."""
    images: dict[tuple[Path, str], _Image] = {}
    masks: list[tuple[re.Match[str], Path]] = []
    n_foreign = 0
    for path in files:
        match = FILE_NAME.fullmatch(path.name)
        if match is None and (mask := MASK_NAME.fullmatch(path.name)):
            masks.append((mask, path))
        elif match is None:
            if STAIN_LIKE.fullmatch(path.name):
                reject(shown(path, given.root), "the name is not {plate}_{well}_{fov}[_cr{hex}][_{cell}]_{stain}")
            else:
                n_foreign += path.name.lower().endswith(IMAGE_SUFFIXES)
        elif problem := file_problem(path, given.roots):
            reject(shown(path, given.root), problem)
        else:
            base = path.name[: match.start("stains")]
            image = images.setdefault((path.parent, base), _Image(match, path.parent))
            image.files.setdefault(match["suffix"], {})[match["stains"]] = path
    for mask, path in masks:
        if (field_image := images.get((path.parent, mask["base"]))) is None:
            n_foreign += 1
        elif problem := file_problem(path, given.roots):
            reject(shown(path, given.root), problem)
        elif first := field_image.masks.get(mask["kind"]):
            reject(shown(path, given.root), f"a second mask beside {first.name}, which is kept")
        else:
            field_image.masks[mask["kind"]] = path
    if n_foreign:
        logger.info("%s: %d image files of other names were left alone", given.root, n_foreign)
    return list(images.values())


def _sources(files: Mapping[str, Mapping[str, Path]]) -> tuple[Source, ...] | None:
    """Sources of the best format that has nucleus and protein: most channels, then bit depth; None if none has."""
    best: tuple[Source, ...] | None = None
    for suffix in SUFFIXES:
        stains = files.get(suffix, {})
        single = {colour: stains[colour] for colour in COLOURS if colour in stains}
        combined = next((p for name, p in sorted(stains.items()) if sorted(name.split("_")) == RGB_STAINS), None)
        if all(colour in single for colour in NEEDED):
            option = tuple(Source(path, (COLOURS[colour],)) for colour, path in single.items())
        elif combined is not None:
            option = (Source(combined, ("microtubules", "protein", "nucleus")),)
        else:
            continue
        if best is None or sum(len(s.channels) for s in option) > sum(len(s.channels) for s in best):
            best = option
    return best


RGB_STAINS = sorted(["red", "green", "blue"])


def _missing(image: _Image) -> str:
    """Why there are no sources: the files that are missing, by name."""
    suffix = max(image.files, key=lambda s: (len(image.files[s]), -SUFFIXES.index(s)))
    stains = image.files[suffix]
    base = image.match.string[: image.match.start("stains")]
    missing = [f"{base}{colour}.{suffix}" for colour in NEEDED if colour not in stains]
    return f"missing {' and '.join(missing)}: nucleus (blue) and protein (green) are needed"


def _record(given: ReaderOptions, image: _Image, tables: Tables, reject: Reject) -> ImageRecord | None:
    match = image.match
    sources = _sources(image.files)
    if sources is None:
        present = min(p for stains in image.files.values() for p in stains.values())
        reject(shown(present, given.root), _missing(image))
        return None
    row = tables.images.get((match["plate"], match["well"].upper(), match["fov"]))
    gene = (row.gene if row else None) or _folder_gene(image.folder.name, match["field"])
    label = tables.label(row, gene)
    is_cell = match["cell"] is not None
    name = match["field"] + (f"_{match['crop']}" if match["crop"] else "")
    return ImageRecord(
        id=make_id(given.spec.name, f"{name}/{int(match['cell'])}" if is_cell else name),
        level="cell" if is_cell else "fov",
        dataset=given.spec.name,
        sources=sources,
        protein=gene,
        ensembl_id=(row.ensembl_id if row else None) or label.ensembl_id,
        antibody=(row.antibody if row else None) or _folder_antibody(image.folder.name, match["plate"]),
        cell_line=row.cell_line if row else None,
        plate=match["plate"],
        well=match["well"].upper(),
        localizations=label.localizations,
        groups={"field": match["field"]},
        metadata=_metadata(match, row, label),
        mask_path=image.masks.get("cellmask"),
        nucleus_mask_path=image.masks.get("nucleimask"),
        # a crop tag names a part of the same field, so that cells of both exclude each other
        fov_id=make_id(given.spec.name, match["field"]) if is_cell else None,
    )


def _metadata(match: re.Match[str], row: ImageRow | None, label: Annotation) -> dict[str, str]:
    found = {
        "fov": match["fov"],
        "crop": match["crop"],
        "cell": match["cell"],
        "localizations_from": label.source,
        "reliability": label.reliability,
        **(row.metadata if row else {}),
    }
    return {name: value for name, value in found.items() if value}


def _folder_gene(folder: str, field_name: str) -> str | None:
    """The gene of a folder {GENE}_{plate}_{well}_{fov}, where it is that of the file."""
    gene = folder.removesuffix(f"_{field_name}")
    return gene if gene and gene != folder else None


def _folder_antibody(folder: str, plate: str) -> str | None:
    """The site's folders are antibody numbers; other tools' folders are plate numbers."""
    return folder if folder.isascii() and folder.isdigit() and folder != plate else None
