"""Atlases with cells that are cut out of small fields, without a network: rows as the cell stage writes them."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from locatlas.indexer.cells.regions import regions_of
from locatlas.indexer.cells.rows import cell_row
from locatlas.indexer.files.images import read_image
from locatlas.indexer.files.thumbnails import thumbnail
from locatlas.indexer.records import ImageRecord, Source
from locatlas.indexer.store.rows import described, image_rows
from locatlas.indexer.store.sources import source_stat
from locatlas.indexer.store.tables import Store

EDGE_PX = 48
LABELS = ("er", "golgi", "nucleoplasm")


def write_cells(folder: Path, n_fields: int = 3, *, pixel_size_um: float | None = 0.5) -> Store:
    """An atlas of fields with four cells each, a quarter of the field every one; field n is of protein and class n.

    The nucleus channel is 100 times the cell's number, the protein channel 1000 throughout with one bright pixel.
    """
    store = Store.create(folder / "atlas")
    source = folder / "images"
    source.mkdir()
    store.folder.root_name(source, prefer="images")
    fovs: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    for n in range(n_fields):
        path = source / f"f{n}.tif"
        labels = np.kron(np.array([[1, 2], [3, 4]]), np.ones((EDGE_PX // 2, EDGE_PX // 2), int))
        protein = np.full_like(labels, 1000 + n)
        protein[n, n] = 4000
        tifffile.imwrite(path, np.stack([labels * 100, protein]).astype(np.uint16), imagej=True,
                         metadata={"axes": "CYX"})  # fmt: skip
        record = ImageRecord(
            id=f"x/f{n}", level="fov", dataset="x", sources=(Source(path, ("nucleus", "protein")),),
            protein=f"P{n}", localizations=(LABELS[n % 3],), pixel_size_um=pixel_size_um,
        )  # fmt: skip
        image, digest = read_image(record)
        fov = {
            **described(record, roots={"images": source}), "height": EDGE_PX, "width": EDGE_PX, "qc": [],
            "source_digest": digest, "source_stat": source_stat(record.sources), "thumbnail": thumbnail(image),
        }  # fmt: skip
        fovs.append(fov)
        # a margin of background, so that no two cells touch
        small = np.where(np.isin(np.arange(EDGE_PX) % (EDGE_PX // 2), (0, EDGE_PX // 2 - 1)), 0, labels)
        small[np.isin(np.arange(EDGE_PX) % (EDGE_PX // 2), (0, EDGE_PX // 2 - 1))] = 0
        cells += [cell_row(fov, record, image, region, "given", thumbnail(image, edge_px=16))
                  for region in regions_of(small)]  # fmt: skip
    store.upsert("fovs", image_rows(fovs, "fov"))
    store.upsert("cells", image_rows(cells, "cell"))
    return store
