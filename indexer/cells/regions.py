"""Label images to cells: one region a number, with box, centroid, area and packed mask. Pure."""

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.errors import ImageRejectedError
from locatlas.models.crops import Place

__all__ = ["Region", "cell_digest", "pack", "regions_of", "unpack"]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One cell of a field of view.

    Attributes:
        name: Unique in its field, e.g. its number in the mask, "17".
        place: Where it lies.
        area_px: Pixels of its mask; None where it has none.
        localizations: Of this very cell, where the source gives some; None where it inherits those of its protein.
        annotated_by: Who gave them, None where inherited.
    """

    name: str
    place: Place
    area_px: int | None
    localizations: tuple[str, ...] | None = None
    annotated_by: str | None = None


def regions_of(cells: NDArray[np.integer], nuclei: NDArray[np.integer] | None = None) -> list[Region]:
    """The cells of a label image, by number; numbers may have holes and any order.

    A cell's nucleus is what `nuclei` has under the cell's number inside of the cell, or, where that is nothing, any
    nucleus inside of it: some tools number the two alike, others do not.

    Args:
        cells: (height, width), 0 background, every other number one cell (its parts may be apart).
        nuclei: (height, width), 0 background, nuclei with the numbers of their cells; None where unknown.

    Raises:
        ImageRejectedError: If the two differ in shape, or a number is negative.
    """
    if cells.ndim != 2 or (nuclei is not None and nuclei.shape != cells.shape):
        found = f" and nuclei of {nuclei.shape}" if nuclei is not None else ""
        message = f"cell mask of shape {cells.shape}{found}: two of (height, width) needed"
        raise ImageRejectedError(message)
    if cells.size == 0:
        return []
    numbers, dense = np.unique(cells, return_inverse=True)
    if numbers[0] < 0:
        message = f"cell mask holds {numbers[0]}; cells have positive numbers"
        raise ImageRejectedError(message)
    dense = dense.reshape(cells.shape).astype(np.int32)
    if numbers[0] == 0:
        numbers = numbers[1:]
    else:
        dense += 1  # no background at all: a cell as large as the image
    height, width = cells.shape
    out = []
    windows = ndimage.find_objects(dense, max_label=len(numbers))
    for label, (number, at) in enumerate(zip(numbers.tolist(), windows, strict=True), start=1):
        mask = dense[at] == label
        top, left, bottom, right = at[0].start, at[1].start, at[0].stop, at[1].stop
        centroid = _centroid(mask, top, left)
        assert centroid is not None
        inside = None if nuclei is None else _nucleus(mask, nuclei[at], number)
        touches = top == 0 or left == 0 or bottom == height or right == width
        place = Place(
            box=(top, left, bottom, right),
            centroid=centroid,
            nucleus_centroid=None if inside is None else _centroid(inside, top, left),
            touches_border=touches,
            mask=mask,
        )
        out.append(Region(name=str(number), place=place, area_px=int(mask.sum())))
    return out


def _nucleus(mask: NDArray[np.bool_], nuclei: NDArray[np.integer], number: int) -> NDArray[np.bool_]:
    own = mask & (nuclei == number)
    return own if own.any() else mask & (nuclei != 0)


def _centroid(mask: NDArray[np.bool_], top: int, left: int) -> tuple[float, float] | None:
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    return float(rows.mean()) + top, float(columns.mean()) + left


def pack(mask: NDArray[np.bool_]) -> bytes:
    """A mask in few bytes: its bits, deflated. `unpack` gives it back."""
    # level 1: masks are smooth, more effort gains a tenth
    return zlib.compress(np.packbits(mask).tobytes(), level=1)


def unpack(packed: bytes, box: Sequence[int]) -> NDArray[np.bool_]:
    """The mask that `pack` was given, of the box' shape.

    Raises:
        ImageRejectedError: If the bytes are not those of a mask of this shape.
    """
    height, width = box[2] - box[0], box[3] - box[1]
    n_bytes = (height * width + 7) // 8
    try:
        stream = zlib.decompressobj()
        bits = stream.decompress(packed, n_bytes + 1)
    except zlib.error as error:
        message = f"the stored mask of the cell is damaged: {error}"
        raise ImageRejectedError(message) from error
    if len(bits) != n_bytes:
        message = f"the stored mask of the cell has {len(bits)} bytes; {n_bytes} needed for {height} x {width} px"
        raise ImageRejectedError(message)
    flat = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=height * width)
    return flat.astype(np.bool_).reshape(height, width)


def cell_digest(fov_digest: str, place: Place) -> str:
    """What a cell's crops are made from: digest of its field's bytes and of where it lies; blake2b-128, hex."""
    digest = hashlib.blake2b(bytes.fromhex(fov_digest), digest_size=16)
    digest.update(struct.pack("<4i2f", *place.box, *place.centroid))
    digest.update(struct.pack("<2f", *(place.nucleus_centroid or (float("nan"), float("nan")))))
    # the bits, not their deflated form, which depends on zlib's version
    digest.update(b"" if place.mask is None else np.packbits(place.mask).tobytes())
    return digest.hexdigest()
