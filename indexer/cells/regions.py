"""Label images to cells: one region a number, with box, centroid, area and packed mask. Pure."""

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.models.crops import Place

__all__ = ["Region", "cell_digest", "pack", "regions_of", "unpack"]

MOST_COVERED = 50
"""The boxes of cells overlap a little; those of a photograph's grey values each cover the field."""

_Window = tuple[slice, slice]


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
        ImageRejectedError: If the two differ in shape, hold other than whole numbers, a number is negative, or the
            cells lie all over each other, as in a photograph that was taken for a mask.
    """
    for what, labels in (("cell", cells), ("nucleus", nuclei)):
        if labels is not None and not np.issubdtype(labels.dtype, np.integer):
            message = f"{what} mask holds {labels.dtype}; whole numbers needed"
            raise ImageRejectedError(message)
    if cells.ndim != 2 or (nuclei is not None and nuclei.shape != cells.shape):
        found = f" and nuclei of {nuclei.shape}" if nuclei is not None else ""
        message = f"cell mask of shape {cells.shape}{found}: two of (height, width) needed"
        raise ImageRejectedError(message)
    if cells.size == 0:
        return []
    from scipy import ndimage  # rows of cells are read where none is cut

    labels, numbers = _numbered(cells)
    windows: list[_Window | None] = ndimage.find_objects(labels)
    _check_apart([at for at in windows if at is not None], cells.size)
    return [
        _region(numbers[label], labels[at] == label, at, nuclei, cells.shape)
        for label, at in enumerate(windows, start=1)
        if at is not None
    ]


def _numbered(cells: NDArray[np.integer]) -> tuple[NDArray[np.int32], Mapping[int, int] | range]:
    """The mask with numbers of which a list can be made, and which number each of them stands for."""
    lowest, highest = int(cells.min()), int(cells.max())
    if lowest < 0:
        message = f"cell mask holds {lowest}; cells have positive numbers"
        raise ImageRejectedError(message)
    if highest <= cells.size:
        return cells.astype(np.int32, copy=False), range(highest + 1)
    # sorts all pixels, which takes longer than all the rest
    numbers, inverse = np.unique(cells, return_inverse=True)
    first = 0 if numbers[0] == 0 else 1
    labels = inverse.reshape(cells.shape).astype(np.int32) + np.int32(first)
    return labels, dict(enumerate(numbers.tolist(), start=first))


def _check_apart(windows: Sequence[_Window], n_pixels: int) -> None:
    covered = sum((at[0].stop - at[0].start) * (at[1].stop - at[1].start) for at in windows)
    if covered > MOST_COVERED * n_pixels:
        message = (
            f"cell mask: the boxes of its {len(windows)} numbers cover the field {covered // n_pixels} times, "
            "so they are no cells; is it a label image?"
        )
        raise ImageRejectedError(message)


def _region(
    number: int,
    mask: NDArray[np.bool_],
    at: _Window,
    nuclei: NDArray[np.integer] | None,
    shape: tuple[int, ...],
) -> Region:
    box = (at[0].start, at[1].start, at[0].stop, at[1].stop)
    area, centroid = _area_and_centroid(mask, box)
    assert centroid is not None
    nucleus = None if nuclei is None else _area_and_centroid(_nucleus(mask, nuclei[at], number), box)[1]
    touches = box[0] == 0 or box[1] == 0 or box[2] == shape[0] or box[3] == shape[1]
    return Region(name=str(number), place=Place(box, centroid, nucleus, touches, mask), area_px=area)


def _nucleus(mask: NDArray[np.bool_], nuclei: NDArray[np.integer], number: int) -> NDArray[np.bool_]:
    own = mask & (nuclei == number)
    return own if own.any() else mask & (nuclei != 0)


def _area_and_centroid(
    mask: NDArray[np.bool_], box: tuple[int, int, int, int]
) -> tuple[int, tuple[float, float] | None]:
    """Pixels of a mask, and their mean row and column in the field; None without pixels."""
    in_row, in_column = mask.sum(axis=1), mask.sum(axis=0)
    area = int(in_row.sum())
    if not area:
        return 0, None
    # in whole numbers up to the division, so that it is the same on every machine
    y, x = (int(counts @ np.arange(len(counts))) / area for counts in (in_row, in_column))
    return area, (y + box[0], x + box[1])


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
