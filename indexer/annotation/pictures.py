"""Pictures that annotators look at: the cell in colours and its protein alone, cut from the source. Reads files."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.rows import source_digest_of_cell
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.files.thumbnails import STAIN_COLOURS, value_range
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.rows import place_of, record_from_row
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.sources import is_cut
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan, Place, cut
from locatlas.types import ChannelImage

__all__ = ["CONTEXT", "Picture", "channel_limits", "paint", "pictures"]

CONTEXT = 1.5
"""Edge of a square by the cell's longest edge, where the pixel size is not known that a crop in micrometres needs."""

OUTLINE = np.array([190, 190, 190], np.uint8)
OUTLINE_AWAY_PX = 2  # of the picture: the line must not cover what lies at the membrane
GAP_PX = 4

_COLUMNS = ("id", "sources", "root", "row", "source_digest", "pixel_size_um", "thumbnail")
_PLACE = ("box", "centroid", "nucleus_centroid", "touches_border", "region")
_METADATA = (
    "dataset", "protein", "ensembl_id", "antibody", "cell_line", "plate", "well", "localizations", "graded", "groups",
    "metadata", "mask",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """What an annotator sees of one image.

    Attributes:
        id: Of the image.
        png: PNG file; None where there is neither a source nor a stored thumbnail.
        origin: Where the pixels are from.
        reason: Why the source was not used, None where it was.
    """

    id: str
    png: bytes | None
    origin: Literal["source", "thumbnail", "nothing"]
    reason: str | None = None


def pictures(store: Store, level: str, ids: Sequence[str], *, crop: CropPlan, edge_px: int) -> Iterator[Picture]:
    """Pictures of images, each source read once.

    A cell that is cut out of its field stands in a square of the field with its neighbors, outlined; an image of its
    own is shown whole. Where the source is gone, cannot be read or is not what was indexed, the stored thumbnail is
    shown instead, and the reason told.

    Args:
        store: The atlas.
        level: "fov" or "cell".
        ids: Images of that level; absent ones are passed over.
        crop: How cells are cut; neighbors are never blanked and the cell always stays in the middle. A size in
            micrometres gives way to a square of the cell's own size times `CONTEXT` where the pixel size is unknown.
        edge_px: Longest edge of a picture (of each of its two panels), >= 1.

    Yields:
        Pictures, ordered by source, not as `ids`.
    """
    wanted = (*_COLUMNS, *_METADATA, *((*_PLACE, "fov_id") if level == "cell" else ()))
    rows = store.read_rows(image_table(level), list(ids), list(wanted)).to_pylist() if ids else []
    roots = store.folder.root_paths()
    plan = replace(crop, blank=False, border="pad")

    def source(row: Mapping[str, Any]) -> tuple[str, ...]:
        return row["root"] or "", repr(row["sources"]), repr(row["row"]), repr(row["pixel_size_um"])

    for _, same in groupby(sorted(rows, key=source), key=source):
        field: tuple[ChannelImage, str] | None = None
        limits: list[tuple[float, float]] = []
        for row in same:
            try:
                record = record_from_row(row, level=level, roots=roots)
                if field is None:
                    field = read_image(record)
                    limits = channel_limits(field[0])
                png = _png(_from_source(row, record, *field, limits, plan, edge_px))
            except ImageRejectedError as error:
                yield _from_thumbnail(row, str(error))
            else:
                yield Picture(row["id"], png, "source")


def _from_thumbnail(row: Mapping[str, Any], reason: str) -> Picture:
    if row["thumbnail"] is None:
        return Picture(row["id"], None, "nothing", reason)
    with Image.open(io.BytesIO(row["thumbnail"])) as stored:
        return Picture(row["id"], _png(np.asarray(stored.convert("RGB"))), "thumbnail", reason)


def _from_source(
    row: Mapping[str, Any],
    record: ImageRecord,
    image: ChannelImage,
    digest: str,
    limits: Sequence[tuple[float, float]],
    plan: CropPlan,
    edge_px: int,
) -> NDArray[np.uint8]:
    place = place_of(row) if is_cut(row) else None
    now = digest if place is None else source_digest_of_cell(digest, record, place)
    if now != row["source_digest"]:
        message = f"{record.sources[0].path}: changed since it was indexed"
        raise ImageRejectedError(message)
    if place is None:
        return paint(image, limits, edge_px=edge_px)
    if plan.size_um is not None and image.pixel_size_um is None:
        top, left, bottom, right = place.box
        edge = math.ceil(max(bottom - top, right - left) * CONTEXT)
        plan = replace(plan, size_um=None, size_px=max(1, edge))
    return paint(cut(image, place, plan), limits, edge_px=edge_px, mask=_mask(image, place, plan))


def _mask(image: ChannelImage, place: Place, plan: CropPlan) -> NDArray[np.bool_]:
    """The cell in its square: what `cut` leaves of a field of ones when it blanks the neighbors."""
    shape = (place.box[2] - place.box[0], place.box[3] - place.box[1])
    known = place if place.mask is not None else replace(place, mask=np.ones(shape, np.bool_))
    ones = ChannelImage(np.ones((1, *image.pixels.shape[1:]), np.uint8), ("mask",), image.pixel_size_um)
    return cut(ones, known, replace(plan, blank=True)).pixels[0].astype(np.bool_)


def channel_limits(image: ChannelImage) -> list[tuple[float, float]]:
    """Low and high percentile of each channel of a whole image, of a regular sample of its pixels."""
    return [value_range(plane) for plane in image.pixels]


def paint(
    image: ChannelImage,
    limits: Sequence[tuple[float, float]],
    *,
    edge_px: int,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """The image in the colours of thumbnails and, where it has other channels too, its protein alone in grey beside it.

    Args:
        image: What is shown.
        limits: Low and high value of each channel, shown as black and full; a channel without a range is black.
        edge_px: Longest edge of a panel; larger images are reduced by averaging, smaller ones enlarged by whole
            numbers.
        mask: Bool, (height, width) of the image: what a line is drawn around; None for none.

    Returns:
        RGB, (height, width, 3); the two panels side by side with a black gap.
    """
    shown = [i for i, name in enumerate(image.channels) if name in STAIN_COLOURS] or [0]
    planes = {i: _stretched(image.pixels[i], limits[i], edge_px) for i in shown}
    panels = [np.zeros((*planes[shown[0]].shape, 3), np.float32)]
    for i, plane in planes.items():
        panels[0] += plane[..., None] * np.array(STAIN_COLOURS.get(image.channels[i], (1.0, 1.0, 1.0)), np.float32)
    if len(shown) > 1 and "protein" in image.channels:
        protein = planes[image.channels.index("protein")]
        panels.append(np.repeat(protein[..., None], 3, axis=2))
    drawn = [(np.clip(panel, 0, 1) * 255 + 0.5).astype(np.uint8) for panel in panels]
    if mask is not None:
        line = _outline(mask, drawn[0].shape[:2])
        for panel in drawn:
            panel[line] = OUTLINE
    gap = np.zeros((drawn[0].shape[0], GAP_PX, 3), np.uint8)
    return drawn[0] if len(drawn) == 1 else np.concatenate([drawn[0], gap, drawn[1]], axis=1)


def _stretched(plane: NDArray[np.generic], limits: tuple[float, float], edge_px: int) -> NDArray[np.float32]:
    """The plane at its size in the picture, float32 in [0, 1]."""
    low, high = limits
    values = np.nan_to_num(plane.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    height, width = values.shape
    longest = max(height, width)
    if longest > edge_px:
        size = (max(1, round(width * edge_px / longest)), max(1, round(height * edge_px / longest)))
        values = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))
    else:
        times = edge_px // longest
        values = values.repeat(times, axis=0).repeat(times, axis=1)
    if not high > low:
        return np.zeros(values.shape, np.float32)
    return np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)


def _outline(mask: NDArray[np.bool_], shape: Sequence[int]) -> NDArray[np.bool_]:
    """A dashed line around the mask, at the picture's size."""
    small = Image.fromarray(mask.astype(np.uint8)).resize((shape[1], shape[0]), Image.Resampling.NEAREST)
    inner = ndimage.binary_dilation(np.asarray(small, dtype=np.bool_), iterations=OUTLINE_AWAY_PX)
    line = ndimage.binary_dilation(inner) & ~inner
    rows, columns = np.indices(line.shape)
    return line & ((rows + columns) // 3 % 2 == 0)


def _png(rgb: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    return out.getvalue()
