"""Small fields with label images of their cells."""

from pathlib import Path

import numpy as np
import tifffile

from tests.indexer.made import pixels

EDGE = 60
MASKS = {
    # numbers with holes; two that touch; one at the border
    "a": {3: (10, 10, 20, 22), 7: (10, 22, 20, 30), 250: (40, 50, 60, 60)},
    "b": {1: (5, 5, 25, 25)},
    "c": {},
}


def write_masked(folder: Path, masks: dict[str, dict[int, tuple[int, int, int, int]]] = MASKS) -> Path:
    """Fields with label images and a manifest that names them; ids manifest/a, b, c."""
    folder.mkdir(exist_ok=True)
    lines = ["id,path,channels,protein,localizations,mask_path"]
    for n, (name, boxes) in enumerate(masks.items()):
        tifffile.imwrite(folder / f"{name}.tif", pixels(n, edge_px=EDGE), imagej=True, metadata={"axes": "CYX"})
        write_mask(folder / f"{name}_mask.tif", boxes)
        lines.append(f"{name},{name}.tif,nucleus;protein,P{n},nucleoplasm,{name}_mask.tif")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_mask(path: Path, boxes: dict[int, tuple[int, int, int, int]], edge_px: int = EDGE) -> None:
    mask = np.zeros((edge_px, edge_px), np.uint16)
    for number, (top, left, bottom, right) in boxes.items():
        mask[top:bottom, left:right] = number
    tifffile.imwrite(path, mask)
