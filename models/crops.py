"""Square crops of single cells out of a field of view, of fixed physical size. Pure."""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError, InputError, UnknownNameError
from locatlas.types import ChannelImage

__all__ = ["PRESETS", "Border", "Centre", "CropPlan", "Place", "Window", "cut", "default_crop", "window"]

Centre = Literal["cell", "nucleus"]
Border = Literal["pad", "shift", "drop"]

MAX_CROP_PX = 8192
"""Largest edge of a crop; a slip in the unit of a pixel size must not ask for gigabytes."""

HPA_PX_UM = 0.0800885  # HPA's 2048 px fields
OPENCELL_PX_UM = 0.206349  # czi-ai/subcell-evaluation-data


@dataclass(frozen=True, slots=True, kw_only=True)
class CropPlan:
    """How a cell is cut out of its field of view; part of what decides a cell's vector.

    Attributes:
        size_um: Edge of the square in micrometres; or
        size_px: in pixels of the field, where its pixel size is not known. Exactly one of the two.
        centre: What is in the middle: the centroid of the `cell`, or of its `nucleus` (the cell's where none is known).
        blank: Whether everything outside of the cell's mask becomes zero.
        border: What becomes of a cell whose square leaves the field: `pad` fills with zeros, `shift` moves the square
            inside (the cell is then off its middle; filled where the field is smaller than the square), `drop` makes
            no vector of it, nor of a cell that itself touches the edge. All of them are flagged in any case.
    """

    size_um: float | None = None
    size_px: int | None = None
    centre: Centre = "cell"
    blank: bool = False
    border: Border = "pad"

    def __post_init__(self) -> None:
        if (self.size_um is None) == (self.size_px is None):
            message = "a crop's size is given in micrometres or in pixels, in exactly one of them"
            raise InputError(message)
        if self.size_um is not None:
            _check_positive(self.size_um, (int, float))
            # 41 and 41.0 are one plan and must have one fingerprint
            object.__setattr__(self, "size_um", float(self.size_um))
        if self.size_px is not None:
            _check_positive(self.size_px, (int,))
        blank: Any = self.blank  # from a file it may be anything
        if not isinstance(blank, bool):
            message = f"crop blank {blank!r}, allowed: True, False"
            raise InputError(message)
        for name, allowed in (("centre", Centre), ("border", Border)):
            if getattr(self, name) not in get_args(allowed):
                message = f"crop {name} {getattr(self, name)!r}, allowed: {', '.join(get_args(allowed))}"
                raise InputError(message)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A plan from a preset's name, "41um" or "100px".

        Raises:
            UnknownNameError: If it is none of these.
        """
        if text in PRESETS:
            return cls(**PRESETS[text])
        # µ is written as the micro sign or as the Greek letter
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(um|\u00b5m|\u03bcm|px)", text.strip())
        if found is None or (found[2] == "px" and "." in found[1]):
            raise UnknownNameError("crop", text, [*PRESETS, "<number>um", "<number>px"])
        return cls(size_px=int(found[1])) if found[2] == "px" else cls(size_um=float(found[1]))

    def to_dict(self) -> dict[str, Any]:
        """All fields, JSON-ready."""
        return asdict(self)

    def edge_px(self, pixel_size_um: float | None) -> int:
        """Edge of the square in pixels of the field, rounded, at least 1.

        Raises:
            ImageRejectedError: If the size is in micrometres and the pixel size is unknown, or the edge is too long.
        """
        if self.size_px is not None:
            edge = self.size_px
        elif pixel_size_um is None:
            message = (
                f"a crop of {self.size_um:g} um needs the pixel size, which is not known; "
                "state it with --pixel-size UM, or the crop in pixels, e.g. --crop 100px"
            )
            raise ImageRejectedError(message)
        else:
            assert self.size_um is not None
            # bounded before it is rounded: infinite where the pixel size is next to nothing
            edge = max(1, round(min(self.size_um / pixel_size_um, MAX_CROP_PX + 1)))
        if edge > MAX_CROP_PX:
            message = f"a crop of {self.size} has more than {MAX_CROP_PX} px an edge; is the pixel size right?"
            raise ImageRejectedError(message)
        return edge

    @property
    def size(self) -> str:
        """Edge of the square with its unit, e.g. "41 um"."""
        return f"{self.size_um:g} um" if self.size_um is not None else f"{self.size_px} px"

    def __str__(self) -> str:
        blank = ", neighbors blanked" if self.blank else ""
        return f"{self.size} around the {self.centre}, {self.border} at the border{blank}"


def _check_positive(size: float, kinds: tuple[type, ...]) -> None:
    if isinstance(size, bool) or not isinstance(size, kinds) or not math.isfinite(size) or size <= 0:
        what = "positive number" if float in kinds else "positive whole number"
        message = f"crop size {size!r}: a {what} needed"
        raise InputError(message)


PRESETS: dict[str, dict[str, Any]] = {
    # DINO4Cells: 512 px crops of HPA fields, neighbors masked ("fixed_size_masked_single_cells_for_sc.csv", Zenodo)
    "dino4cells": {"size_um": round(512 * HPA_PX_UM, 3), "blank": True},
    # SubCell: evaluated on 640 px crops, trained on 1024 px crops, both reduced to the network's 448 px
    "subcell": {"size_um": round(640 * HPA_PX_UM, 3)},
    "subcell-training": {"size_um": round(1024 * HPA_PX_UM, 3)},
    # czi-ai/subcell-evaluation-data: 256 px around the nucleus, zero-padded
    "opencell": {"size_um": round(256 * OPENCELL_PX_UM, 3), "centre": "nucleus"},
    # royerlab/cytoself: 100 px around the nucleus
    "cytoself": {"size_um": round(100 * OPENCELL_PX_UM, 3), "centre": "nucleus"},
}
"""Crops of published pipelines, by name; sizes in micrometres, so that they hold for any microscope."""


def default_crop(encoder: str) -> CropPlan:
    """The crop that an encoder was trained or published with, else that of DINO4Cells without blanking."""
    name = encoder.lower()
    if "dino4cells" in name:
        return CropPlan.parse("dino4cells")
    if "subcell" in name:
        return CropPlan.parse("subcell")
    return CropPlan(size_um=PRESETS["dino4cells"]["size_um"])


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a cell lies in its field.

    Attributes:
        box: Top, left, bottom, right in pixels, the last two behind the cell.
        centroid: y, x in pixels (a pixel's middle has whole coordinates), rounded to float32: as they are stored.
        nucleus_centroid: The same of its nucleus, None where unknown.
        touches_border: Whether the cell reaches the edge of the field.
        mask: Bool, of the box' shape: which pixels are the cell's; None where only a box or a centre is known.
    """

    box: tuple[int, int, int, int]
    centroid: tuple[float, float]
    nucleus_centroid: tuple[float, float] | None
    touches_border: bool
    mask: NDArray[np.bool_] | None

    def __post_init__(self) -> None:
        # a cell that is read back from the store must be cut where it was cut first, also at half a pixel
        object.__setattr__(self, "centroid", _as_stored(self.centroid))
        if self.nucleus_centroid is not None:
            object.__setattr__(self, "nucleus_centroid", _as_stored(self.nucleus_centroid))


def _as_stored(point: tuple[float, float]) -> tuple[float, float]:
    return float(np.float32(point[0])), float(np.float32(point[1]))


@dataclass(frozen=True, slots=True)
class Window:
    """The square of a cell.

    Attributes:
        top: First row, may be negative.
        left: First column, may be negative.
        edge: Pixels.
        flags: `padded`, `shifted`: what was done because the square leaves the field.
        dropped: Whether the plan makes no vector of this cell.
    """

    top: int
    left: int
    edge: int
    flags: tuple[str, ...]
    dropped: bool


def window(place: Place, plan: CropPlan, *, height: int, width: int, pixel_size_um: float | None) -> Window:
    """Where a cell is cut.

    Args:
        place: The cell.
        plan: How to cut.
        height: Of the field, pixels.
        width: Of the field, pixels.
        pixel_size_um: Of the field, None where unknown.

    Raises:
        ImageRejectedError: As `CropPlan.edge_px`.
    """
    edge = plan.edge_px(pixel_size_um)
    y, x = place.centroid
    if plan.centre == "nucleus" and place.nucleus_centroid is not None:
        y, x = place.nucleus_centroid
    # half up, so that the same centre gives the same square on every machine
    top, left = math.floor(y - (edge - 1) / 2 + 0.5), math.floor(x - (edge - 1) / 2 + 0.5)
    leaves = top < 0 or left < 0 or top + edge > height or left + edge > width
    if not leaves:
        return Window(top, left, edge, (), dropped=plan.border == "drop" and place.touches_border)
    if plan.border == "shift":
        top = min(max(top, 0), max(height - edge, 0))
        left = min(max(left, 0), max(width - edge, 0))
        padded = edge > height or edge > width
        return Window(top, left, edge, ("padded", "shifted") if padded else ("shifted",), dropped=False)
    return Window(top, left, edge, ("padded",), dropped=plan.border == "drop")


def cut(image: ChannelImage, place: Place, plan: CropPlan) -> ChannelImage:
    """The square of a cell, a copy.

    Args:
        image: The field of view, (channels, height, width).
        place: Where the cell lies in it.
        plan: How to cut; whether the cell is to be dropped is not looked at (see `window`).

    Returns:
        (channels, edge, edge), the dtype and pixel size of the field; zeros outside of it and, where `plan.blank`,
        outside of the cell.

    Raises:
        ImageRejectedError: As `CropPlan.edge_px`, or if neighbors are to be blanked and the cell has no mask.
    """
    height, width = image.pixels.shape[1:]
    at = window(place, plan, height=height, width=width, pixel_size_um=image.pixel_size_um)
    out = np.zeros((len(image.pixels), at.edge, at.edge), dtype=image.pixels.dtype)
    top, left = max(at.top, 0), max(at.left, 0)
    bottom, right = min(at.top + at.edge, height), min(at.left + at.edge, width)
    if top < bottom and left < right:
        part = out[:, top - at.top : bottom - at.top, left - at.left : right - at.left]
        # not by multiplication, which would keep a NaN that is blanked
        shown: Any = _mask_of(place, (top, left, bottom, right)) if plan.blank else True
        np.copyto(part, image.pixels[:, top:bottom, left:right], where=shown)
    return ChannelImage(out, image.channels, image.pixel_size_um)


def _mask_of(place: Place, part: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The cell's mask over a part of the field."""
    if place.mask is None:
        message = "neighbors cannot be blanked: only a box or a centre of the cell is known, no mask"
        raise ImageRejectedError(message)
    top, left, bottom, right = part
    out = np.zeros((bottom - top, right - left), dtype=np.bool_)
    box_top, box_left, box_bottom, box_right = place.box
    low, high = max(top, box_top), min(bottom, box_bottom)
    first, last = max(left, box_left), min(right, box_right)
    if low < high and first < last:
        out[low - top : high - top, first - left : last - left] = place.mask[
            low - box_top : high - box_top, first - box_left : last - box_left
        ]
    return out
