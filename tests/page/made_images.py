"""An atlas to look at the page with: six proteins of three looks, with cells, maps, two encoders, measures."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from locatlas.models.spec import EncoderSpec
from locatlas.query.atlas import open_atlas
from locatlas.query.benchmark.run import benchmark
from tests.indexer.masked import write_mask

EDGE = 64
BOXES = {1: (6, 6, 30, 30), 2: (34, 34, 58, 58)}
HOSTILE = "<img src=x onerror=alert(1)>"
"""A protein whose name is HTML."""

PROTEINS = ("LMNB1", "LMNA", "TOMM20", "ATP5F1A", "NPM1", HOSTILE)
PLACES = ("nuclear_membrane", "nuclear_membrane", "mitochondria", "mitochondria", "nucleolus_gc", "nucleolus_gc")
FIELDS_EACH = 2
IN_TWO = "f51"
"""A field with two localizations, and so its cells."""

_GRID = """
title = "k on the page's fields"
question = "?"
caution = "made"
[[encoders]]
name = "locatlas_pico.synthetic"
[measure]
levels = ["fov"]
protocols = ["protein-out"]
classifiers = ["knn"]
ks = [1, 3]
votes = ["uniform"]
compare_k = 1
seeds = [0]
[settings]
min_groups = 1
"""


def field(place: str, seed: int) -> NDArray[np.uint16]:
    """nucleus, protein, er of two cells, uint16 (3, EDGE, EDGE): rim, dots outside or dots inside of the nuclei."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:EDGE, :EDGE]
    image = rng.integers(0, 400, (3, EDGE, EDGE)).astype(float)
    for top, left, bottom, right in BOXES.values():
        away = np.hypot(y - (top + bottom) / 2, x - (left + right) / 2)
        image[0] += 30_000 * (away < 7)
        image[2] += 12_000 * (away < 13)
        if place == "nuclear_membrane":
            image[1] += 40_000 * (abs(away - 7) < 1)
        elif place == "mitochondria":
            image[1] += 40_000 * ((away > 8) & (away < 13) & ((x + 2 * y + seed) % 4 == 0))
        else:
            image[1] += 40_000 * (away < 2.5)
    return image.clip(0, 65_535).astype(np.uint16)


def write_images(folder: Path) -> Path:
    """Fields with masks of their cells, and a manifest; ids manifest/f00, manifest/f01, ..."""
    folder.mkdir()
    lines = ["id,path,channels,protein,ensembl_id,localizations,aliases,mask_path"]
    for p, (protein, place) in enumerate(zip(PROTEINS, PLACES, strict=True)):
        for f in range(FIELDS_EACH):
            name = f"f{p}{f}"
            tifffile.imwrite(folder / f"{name}.tif", field(place, 10 * p + f), imagej=True, metadata={"axes": "CYX"})
            write_mask(folder / f"{name}_mask.tif", BOXES, EDGE)
            places = f"{place};cytoplasm" if name == IN_TWO else place
            gene = f"ENSG{p + 1:011d},{places},{'lamin B1;LMN2' if protein == 'LMNB1' else ''}"
            lines.append(f"{name},{name}.tif,nucleus;protein;er,{protein},{gene},{name}_mask.tif")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def make_atlas(folder: Path) -> Path:
    """The atlas, with maps of fields and cells, vectors of a second encoder of fields, and a stored grid."""
    images, atlas = write_images(folder / "images"), folder / "atlas"
    request = EncoderRequest(name="locatlas_pico.synthetic", crop=CropPlan(size_px=32))
    index(images, atlas=atlas, dataset="manifest", level="both", request=request)
    store = Store.open(atlas)
    with store.folder.writer("a test"):
        spec = EncoderSpec(
            name="other", architecture=encoders.IMPORTED, slots=("unknown",), input_px=0, embedding_dim=8,
            weights_sha256="imported:other", source="imported",
        )  # fmt: skip
        rows = store.read("fovs", ["id", "source_digest"]).to_pylist()
        vectors = np.random.default_rng(1).normal(size=(len(rows), 8)).astype(np.float32)
        other = StoredEncoder("fov", spec, "superseded")
        digests = [row["source_digest"] for row in rows]
        store.put_embeddings("fov", other.fingerprint, [row["id"] for row in rows], digests, vectors)
        encoders.put(store, other)
    for level in ("fov", "cell"):
        open_atlas(atlas).map(level=level)
    (folder / "grid.toml").write_text(_GRID)
    benchmark(atlas=atlas, grid=folder / "grid.toml", n_bootstrap=10)
    return atlas
