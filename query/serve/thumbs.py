"""Pictures of images in the colours and contrast that are asked for, cut from the source. Reads images."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.annotation.pictures import CONTEXT
from locatlas.indexer.cells.rows import source_digest_of_cell
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.files.thumbnails import HIGH_PERCENTILE, LOW_PERCENTILE, STAIN_COLOURS, thumbnail, value_range
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.rows import place_of, record_from_row
from locatlas.indexer.store.sources import is_cut
from locatlas.models.crops import CropPlan, cut
from locatlas.query.serve.reading import Desk
from locatlas.query.serve.routes_names import image_row
from locatlas.types import ChannelImage

__all__ = ["MOST_PX", "Fields", "Look", "Shown", "etag_of", "picture"]

MOST_PX = 2048
"""Longest edge of a picture."""

_ROW = (
    "id", "dataset", "protein", "ensembl_id", "antibody", "cell_line", "plate", "well", "localizations", "graded",
    "groups", "metadata", "mask", "sources", "root", "row", "source_digest", "pixel_size_um", "thumbnail", "channels",
)  # fmt: skip
_OF_LEVEL = {"cell": ("fov_id", "box", "centroid", "nucleus_centroid", "touches_border", "region")}

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How an image is to be shown.

    Attributes:
        colours: Channels with their colours, red, green and blue in [0, 1]; () for the usual ones.
        low: Percentile of the whole image that is black.
        high: Percentile that is full.
        edge_px: Longest edge, in pixels.
    """

    colours: tuple[tuple[str, Colour], ...] = ()
    low: float = LOW_PERCENTILE
    high: float = HIGH_PERCENTILE
    edge_px: int = 256

    @classmethod
    def asked(cls, channels: str | None, low: float | None, high: float | None, edge_px: int) -> "Look":
        """As a request has it.

        Args:
            channels: E.g. "nucleus:0000ff,protein:00ff00"; a channel without a colour has its usual one, or white.
            low: Percentile, 0 to 100.
            high: The same.
            edge_px: Longest edge.

        Raises:
            InputError: If a colour is none, a channel is named twice, or low is not below high.
        """
        colours: dict[str, Colour] = {}
        for part in filter(None, (p.strip() for p in (channels or "").split(","))):
            name, _, code = part.partition(":")
            if name in colours:
                message = f"channels: {name!r} is named twice"
                raise InputError(message)
            colours[name] = _colour(code) if code else STAIN_COLOURS.get(name, (1.0, 1.0, 1.0))
        bottom, top = LOW_PERCENTILE if low is None else low, HIGH_PERCENTILE if high is None else high
        if not bottom < top:
            message = f"low {bottom:g}, high {top:g}: low must be below high"
            raise InputError(message)
        return cls(colours=tuple(colours.items()), low=bottom, high=top, edge_px=edge_px)


def _colour(code: str) -> Colour:
    try:
        if len(code) != 6 or not code.isascii() or not code.isalnum():
            raise ValueError
        red, green, blue = bytes.fromhex(code)
    except ValueError:
        message = f"colour {code[:20]!r}: six hexadecimal digits needed, e.g. 00ff00"
        raise InputError(message) from None
    return red / 255, green / 255, blue / 255


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture.

    Attributes:
        webp: Its bytes.
        origin: "source", or "thumbnail" where the images are not at hand.
        reason: Why it is the stored thumbnail, in its own colours; None for a picture of the source.
    """

    webp: bytes
    origin: Literal["source", "thumbnail"]
    reason: str | None = None


class Fields:
    """Decoded images, kept for the next picture: of another cell of the field, or in other colours.

    Args:
        kept_pixels: Most pixels, over all channels, that are kept.
    """

    def __init__(self, kept_pixels: int) -> None:
        self._most = kept_pixels
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[ChannelImage, str]] = OrderedDict()
        self._reading: dict[str, threading.Lock] = {}

    def read(self, record: ImageRecord, key: str) -> tuple[ChannelImage, str]:
        """The image and its digest.

        Args:
            record: Where it lies.
            key: Changes with the files.

        Raises:
            ImageRejectedError: If it cannot be used.
        """
        with self._lock:
            reading = self._reading.setdefault(key, threading.Lock())
        try:
            with reading:
                with self._lock:
                    if key in self._kept:
                        self._kept.move_to_end(key)
                        return self._kept[key]
                found = read_image(record)
                with self._lock:
                    self._kept[key] = found
                    while len(self._kept) > 1 and sum(i.pixels.size for i, _ in self._kept.values()) > self._most:
                        self._kept.popitem(last=False)
                return found
        finally:
            with self._lock:
                self._reading.pop(key, None)


def etag_of(row: Mapping[str, Any], look: Look) -> str:
    """Another for other pixels and for another look."""
    return f'"{hashlib.blake2b(repr((row["source_digest"], look)).encode(), digest_size=16).hexdigest()}"'


def row_of(desk: Desk, image_id: str) -> tuple[str, dict[str, Any]]:
    """Level and row of an image with what a picture needs.

    Raises:
        HTTPException: 404, if no image has the id.
    """
    return image_row(desk, image_id, _ROW, further=_OF_LEVEL)


def picture(desk: Desk, fields: Fields, level: str, row: Mapping[str, Any], look: Look) -> Shown:
    """The picture of an image; of a cell in the square of its field that shows its surroundings, too.

    Args:
        desk: The atlas.
        fields: Images that were decoded before.
        level: Of the row.
        row: From `row_of`.
        look: How it is to be shown.

    Raises:
        ImageRejectedError: If there is neither a source nor a stored thumbnail.
        InputError: If channels are asked for that the image does not have.
    """
    missing = [name for name, _ in look.colours if name not in row["channels"]]
    if missing:
        message = f"{row['id']}: has no channel {missing[0]!r}; it has {', '.join(row['channels'])}"
        raise InputError(message)
    try:
        return Shown(_from_source(desk, fields, level, row, look), "source")
    except ImageRejectedError as error:
        if row["thumbnail"] is None:
            raise
        return Shown(row["thumbnail"], "thumbnail", str(error))


def _from_source(desk: Desk, fields: Fields, level: str, row: Mapping[str, Any], look: Look) -> bytes:
    record = record_from_row(row, level=level, roots=desk.store.folder.root_paths())
    stats = [(str(s.path), s.channels, _stat(s.path)) for s in record.sources]
    image, digest = fields.read(record, repr((stats, record.row, record.pixel_size_um)))
    place = place_of(row) if is_cut(row) else None
    if (digest if place is None else source_digest_of_cell(digest, record, place)) != row["source_digest"]:
        message = f"{row['id']}: its file changed since it was indexed"
        raise ImageRejectedError(message)
    # of the whole field, so that cells of one field can be compared
    ranges = [value_range(plane, look.low, look.high) for plane in image.pixels]
    shown = image
    if place is not None:
        top, left, bottom, right = place.box
        edge = max(1, ceil(max(bottom - top, right - left) * CONTEXT))
        plan = CropPlan(size_px=edge, size_um=None, blank=False, border="pad")
        shown = cut(image, replace(place, mask=None), plan)
    return thumbnail(shown, edge_px=look.edge_px, colours=dict(look.colours) or None, ranges=ranges)


def _stat(path: Any) -> str:
    try:
        found = path.stat()
    except OSError:
        return "gone"
    return f"{found.st_size}:{found.st_mtime_ns}"
