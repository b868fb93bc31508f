"""Check the built-in segmenter: against the cells of made images, and, to be looked at, on real ones.

Run as `python scripts/check_segmentation.py [FOLDER] [--overlays DIR] [--figure FILE]`. Without a folder it draws made
fields in both looks and scores nuclei and cells against what was drawn; it fails below an F1 of 0.9 for nuclei. FOLDER
is the collection of real images that docs/real-data.md describes; counts and areas are printed per image.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from locatlas.indexer.cells.agreement import agreement
from locatlas.indexer.cells.builtin import Segmentation
from locatlas.indexer.cells.segmenters import SegmenterSpec, get_segmenter, segment
from locatlas.indexer.datasets.registry import read_records
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.records import ImageRecord, RejectedSource, Source
from locatlas.indexer.synthetic.classes import CLASSES
from locatlas.indexer.synthetic.fov import DrawnFov, draw_hpa, draw_opencell
from locatlas.indexer.synthetic.looks import LOOKS, SourceName
from locatlas.indexer.synthetic.plan import plan_fovs
from locatlas.indexer.synthetic.proteins import make_proteins
from locatlas.types import ChannelImage

LOWEST_F1 = 0.9
SHEET_EDGE_PX = 480
SHEET_COLUMNS = 4
SHEET_ROWS = 3

# HPA's colours, weak enough that outlines can be seen
COLOURS = {
    "nucleus": (0.25, 0.35, 1.0),
    "protein": (0.1, 0.4, 0.1),
    "microtubules": (0.6, 0.0, 0.0),
    "er": (0.3, 0.3, 0),
}
NUCLEUS_LINE = (255, 255, 255)
CELL_LINE = (255, 220, 0)


def made_fields(seed: int, per_class: int) -> Iterator[tuple[SourceName, DrawnFov]]:
    """Fields of every localization in both looks; the pixels that `make_collection` writes, with their nuclei."""
    proteins = make_proteins(CLASSES, per_class, seed)
    genes = frozenset(protein.gene for protein in proteins)
    jobs = plan_fovs(
        proteins, opencell_fovs=1, opencell_px=600, hpa_proteins=genes, hpa_fovs=1, hpa_px=512
    )  # the sizes of make_collection
    for job in jobs:
        draw = draw_opencell if job.source == "opencell" else draw_hpa
        yield job.source, draw(job.protein, job.size_px, job.generator(seed))


def check_made(spec: SegmenterSpec, seed: int, per_class: int, *, known_scale: bool) -> list[float]:
    """Print scores per look; returns the F1 of the nuclei."""
    found: dict[SourceName, list[tuple[DrawnFov, Segmentation, float]]] = {}
    for look, drawn in made_fields(seed, per_class):
        image = ChannelImage(drawn.pixels, drawn.channels, LOOKS[look].pixel_um if known_scale else None)
        start = time.perf_counter()
        result = segment(image, spec)
        found.setdefault(look, []).append((drawn, result, time.perf_counter() - start))
    scale = "pixel size known" if known_scale else "pixel size not known"
    scores = []
    for look, fields in found.items():
        nuclei = agreement((drawn.nuclei, result.nuclei) for drawn, result, _ in fields)
        cells = agreement((drawn.mask, result.cells) for drawn, result, _ in fields)
        took = float(np.median([seconds for _, _, seconds in fields]))
        for what, score in (("nuclei", nuclei), ("cells", cells)):
            print(
                f"{look:9} {what:7} precision {score.precision:.3f}  recall {score.recall:.3f}  F1 {score.f1:.3f}  "
                f"mean IoU {score.mean_iou:.3f}  ({score.n_true} drawn, {score.n_found} found, {len(fields)} fields, "
                f"{scale}, median {took * 1000:.0f} ms a field)"
            )
        scores.append(nuclei.f1)
    return scores


def real_images(folder: Path) -> Iterator[tuple[str, str, ChannelImage]]:
    """Part, name and image of every field of view of the collection; what is left out is told."""
    for part, dataset, place in (
        ("hpa_kaggle_fovs", "hpa-kaggle", folder / "hpa_kaggle_fovs"),
        ("hpa_named", "hpa", folder / "hpa_named"),
        ("opencell", "opencell", folder / "opencell"),
    ):
        records = list(read_records(dataset, place))
        for record in records:
            if isinstance(record, RejectedSource):
                print(f"left out: {record.source}: {record.reason}")
            elif record.level != "fov":
                print(f"left out: {record.id}: an image of one cell")
            else:
                yield part, record.id, read_image(record)[0]
    path = folder / "opencell" / "nucleus_fov_uint16.tif"
    lone = ImageRecord(id=path.stem, level="fov", dataset="", sources=(Source(path, ("nucleus",)),))
    yield "nucleus_fov", path.stem, read_image(lone)[0]


def check_real(folder: Path, spec: SegmenterSpec, overlays: Path | None) -> None:
    """Print counts and areas per image; write overlays and sheets of them."""
    pictures: dict[str, list[Image.Image]] = {}
    for part, name, image in real_images(folder):
        start = time.perf_counter()
        found = segment(image, spec)
        took = time.perf_counter() - start
        size = " x ".join(str(edge) for edge in image.pixels.shape[1:])
        nuclei, cells = (np.bincount(labels.ravel())[1:] for labels in (found.nuclei, found.cells))
        median = [int(np.median(areas)) if len(areas) else 0 for areas in (nuclei, cells)]
        print(
            f"{part:16} {name[-40:]:40} {size:11} px  {len(nuclei):3} nuclei of {median[0]:6} px, "
            f"{len(cells):3} cells of {median[1]:6} px (medians), {took * 1000:.0f} ms"
        )
        pictures.setdefault(part, []).append(overlay(image, found))
    if overlays is not None:
        overlays.mkdir(parents=True, exist_ok=True)
        for part, made in pictures.items():
            each = SHEET_COLUMNS * SHEET_ROWS
            for number, first in enumerate(range(0, len(made), each)):
                sheet(made[first : first + each], SHEET_COLUMNS).save(overlays / f"{part}_{number}.png")


def overlay(image: ChannelImage, found: Segmentation, edge_px: int = SHEET_EDGE_PX) -> Image.Image:
    """A colour picture with the outlines of nuclei (white) and cells (yellow)."""
    height, width = image.pixels.shape[1:]
    scale = edge_px / max(height, width)
    size = (round(width * scale), round(height * scale))
    colour = np.zeros((size[1], size[0], 3))
    for name, plane in zip(image.channels, image.pixels, strict=True):
        small = np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BOX))
        low, high = np.percentile(small, (1, 99.7))
        shown = np.clip((small - low) / max(float(high - low), 1e-6), 0, 1) ** 0.7
        colour += shown[..., None] * np.array(COLOURS.get(name, (0.3, 0.3, 0.3)))
    picture = (np.clip(colour, 0, 1) * 255).astype(np.uint8)
    for labels, line in ((found.cells, CELL_LINE), (found.nuclei, NUCLEUS_LINE)):
        small = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        picture[outlines(small)] = line
    return Image.fromarray(picture)


def outlines(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels of objects with another label above or to the left."""
    out = np.zeros(labels.shape, dtype=np.bool_)
    out[1:] |= labels[1:] != labels[:-1]
    out[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return out


def sheet(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Pictures side by side."""
    rows = -(-len(pictures) // columns)
    canvas = Image.new("RGB", (min(columns, len(pictures)) * SHEET_EDGE_PX, rows * SHEET_EDGE_PX))
    for place, picture in enumerate(pictures):
        canvas.paste(picture, (place % columns * SHEET_EDGE_PX, place // columns * SHEET_EDGE_PX))
    return canvas


def figure(path: Path, spec: SegmenterSpec, seed: int) -> None:
    """Two made fields in each look with their outlines."""
    shown: dict[SourceName, list[Image.Image]] = {"opencell": [], "hpa": []}
    for look, drawn in made_fields(seed, 1):
        if len(shown[look]) < 2:
            image = ChannelImage(drawn.pixels, drawn.channels, LOOKS[look].pixel_um)
            shown[look].append(overlay(image, segment(image, spec)))
    sheet([*shown["opencell"], *shown["hpa"]], 4).save(path, quality=70, optimize=True)


def main() -> None:
    """Check made images, then real ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="collection of real images")
    parser.add_argument("--overlays", type=Path, help="folder for pictures of the real images with outlines")
    parser.add_argument("--figure", type=Path, help="write a picture of made images with outlines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-class", type=int, default=2, help="made proteins per localization, one field each")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="parameter of the segmenter")
    given = parser.parse_args()
    spec = get_segmenter("builtin", dict(item.split("=", 1) for item in given.set))
    print(spec.id, spec.to_json())
    if given.figure is not None:
        figure(given.figure, spec, given.seed)
    if given.folder is not None:
        check_real(given.folder, spec, given.overlays)
        return
    scores = [
        f1
        for known_scale in (True, False)
        for f1 in check_made(spec, given.seed, given.per_class, known_scale=known_scale)
    ]
    if min(scores) < LOWEST_F1:
        sys.exit(f"F1 of nuclei is {min(scores):.3f}, at least {LOWEST_F1} needed")


if __name__ == "__main__":
    main()
