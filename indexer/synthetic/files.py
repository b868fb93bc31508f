"""Write one field of view: draw it, write its image files and its masks. Touches files; runs in worker processes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from locatlas.indexer.synthetic.fov import DrawnFov, draw_hpa, draw_opencell
from locatlas.indexer.synthetic.looks import LOOKS
from locatlas.indexer.synthetic.plan import FovJob

__all__ = ["CellBox", "write_fov"]

_PNG_LEVEL = 1  # zlib; noise hardly compresses, so higher levels only cost time


@dataclass(frozen=True, slots=True)
class CellBox:
    """One cell of a mask.

    Attributes:
        number: Its value in the mask.
        top: First row.
        left: First column.
        bottom: Row after the last.
        right: Column after the last.
        area_px: Pixels.
        touches_border: Whether a pixel lies on the edge of the field.
        mitotic: Whether it was drawn in metaphase.
    """

    number: int
    top: int
    left: int
    bottom: int
    right: int
    area_px: int
    touches_border: bool
    mitotic: bool


def write_fov(folder: Path, job: FovJob, seed: int) -> list[CellBox]:
    """Draw a field, write its files under `folder`, and return its cells."""
    draw = draw_opencell if job.source == "opencell" else draw_hpa
    drawn = draw(job.protein, job.size_px, job.generator(seed))
    paths = job.image_paths()
    for path in (*paths.values(), job.mask_path(), job.nuclei_path()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    if job.source == "opencell":
        _write_tiff(folder / paths[""], drawn.pixels)
    else:
        for channel, plane in zip(drawn.channels, drawn.pixels, strict=True):
            _write_png(folder / paths[channel], plane)
    _write_png(folder / job.mask_path(), drawn.mask)
    _write_png(folder / job.nuclei_path(), drawn.nuclei)
    return _boxes(drawn)


def _write_tiff(path: Path, pixels: NDArray[np.uint16] | NDArray[np.uint8]) -> None:
    """As in OpenCell's bucket: ImageJ, CYX, uncompressed, 1/0.2 um."""
    per_um = 1 / LOOKS["opencell"].pixel_um
    tifffile.imwrite(
        path,
        pixels,
        imagej=True,
        resolution=(per_um, per_um),
        metadata={"axes": "CYX", "unit": "um", "mode": "grayscale"},
    )


def _write_png(path: Path, plane: NDArray[np.uint16] | NDArray[np.uint8]) -> None:
    Image.fromarray(plane).save(path, format="png", compress_level=_PNG_LEVEL)


def _boxes(drawn: DrawnFov) -> list[CellBox]:
    height, width = drawn.mask.shape
    areas = np.bincount(drawn.mask.ravel(), minlength=len(drawn.mitotic) + 1)
    boxes = []
    for number, window in enumerate(ndimage.find_objects(drawn.mask, max_label=len(drawn.mitotic)), start=1):
        top, left, bottom, right = window[0].start, window[1].start, window[0].stop, window[1].stop
        at_border = top == 0 or left == 0 or bottom == height or right == width
        boxes.append(
            CellBox(number, top, left, bottom, right, int(areas[number]), at_border, bool(drawn.mitotic[number - 1]))
        )
    return boxes
