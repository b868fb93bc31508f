"""From pixels of any type and size to planes a network takes: intensity, scale, resize, crop, pad. Pure."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from locatlas.errors import ImageRejectedError
from locatlas.models.channels import assemble, plan, used_channels
from locatlas.models.intensity import EPS, FLAT, float_planes, scale_line, scaled, standardized
from locatlas.models.qc import check_usable
from locatlas.models.resizing import resized
from locatlas.models.spec import EncoderSpec
from locatlas.types import ChannelImage

__all__ = [
    "MAX_EDGE_PX",
    "network_input",
    "pad",
    "pad_to_patch",
    "picked_channels",
    "resize_and_crop",
    "resized_px",
    "scale_intensity",
    "standardize",
]

MAX_EDGE_PX = 16384
"""Rescaling to the encoder's pixel size is refused beyond this edge: the pixel size is then surely wrong."""


def network_input(image: ChannelImage, spec: EncoderSpec, *, patch_px: int) -> Tensor:
    """All of an image's forward passes, ready for the network.

    In this order: the channels that the plan uses are picked; `unit`, `minmax`, `minmax_joint` and `percentile` scale
    them by statistics of the whole image; rescale to `spec.pixel_size_um`; resize and crop; `standardize`, which takes
    its statistics from what the network sees (as DINO4Cells and Cell-DINO do); zero-padding; `spec.mean`, `spec.std`.

    Args:
        image: Any size and one of the types of `ChannelImage`; not changed.
        spec: The encoder.
        patch_px: Edge of the network's patches in pixels.

    Returns:
        Float32, (passes, slots, h, w), finite; h and w are multiples of `patch_px`. Where `spec.needs_blank`, one plane
        follows the slots: 0 where the image is blank or padded, 1 where it is not, shares of it on the edge between.

    Raises:
        ImageRejectedError: If the image cannot be used; says why.
        InputError: If the spec names channels that it has no slot for.
    """
    used = picked_channels(image, spec)
    channels = used.channels
    planes = _scaled_and_resized(used, spec)
    if spec.resize == "center_crop_pad":
        planes = pad(planes, spec.input_px, spec.input_px)
    planes = pad_to_patch(planes, patch_px)
    batch = assemble(planes, channels, plan(spec, image.channels), spec)
    if not np.isfinite(batch.numpy()).all():
        low, high = float(used.pixels.min()), float(used.pixels.max())
        message = f"pixels from {low:g} to {high:g} cannot be scaled to finite numbers"
        raise ImageRejectedError(message)
    if spec.needs_blank:
        shown = _shown(used, spec, patch_px=patch_px)
        batch = torch.cat([batch, shown.expand(len(batch), 1, *shown.shape[1:])], dim=1)
    return batch


def picked_channels(image: ChannelImage, spec: EncoderSpec) -> ChannelImage:
    """The channels of an image that an encoder takes, once they are known to be usable; a view where it has no others.

    Raises:
        ImageRejectedError: If the image cannot be used; says why.
        InputError: If the spec names channels that it has no slot for.
    """
    channels = used_channels(spec, image.channels)
    rows = [image.channels.index(channel) for channel in channels]
    picked = image.pixels if rows == list(range(len(image.channels))) else image.pixels[rows]
    used = ChannelImage(picked, channels, image.pixel_size_um)
    check_usable(used, unit_range=spec.intensity == "unit")
    return used


def _scaled_and_resized(image: ChannelImage, spec: EncoderSpec) -> Tensor:
    """All channels by `spec.intensity` at the size of `spec.resize`, padding left out: float32, (channels, h, w)."""
    if image.pixels.dtype.kind == "u":
        whole, line = float_planes(image.pixels, scale_line(image.pixels, spec))
        small = resize_and_crop(torch.from_numpy(whole), spec, pixel_size_um=image.pixel_size_um)
        planes = scaled(small.numpy(), line)
    else:
        floats = torch.from_numpy(scale_intensity(image.pixels, spec))
        planes = resize_and_crop(floats, spec, pixel_size_um=image.pixel_size_um).numpy()
    return torch.from_numpy(standardized(planes) if spec.intensity == "standardize" else planes)


def _shown(image: ChannelImage, spec: EncoderSpec, *, patch_px: int) -> Tensor:
    """Where an image shows something, scaled and padded as its channels: float32 in [0, 1], (1, h, w)."""
    shown = torch.from_numpy((image.pixels != 0).any(axis=0)[None].astype(np.float32))
    shown = resize_and_crop(shown, spec, pixel_size_um=image.pixel_size_um).clamp(0, 1)
    if spec.resize == "center_crop_pad":
        shown = pad(shown, spec.input_px, spec.input_px)
    return pad_to_patch(shown, patch_px)


def scale_intensity(pixels: NDArray[Any], spec: EncoderSpec) -> NDArray[np.float32]:
    """Channels as float32 by `spec.intensity`; a flat channel becomes zero under all but `unit` and `standardize`.

    `standardize` is only brought to the unit range here; see `network_input`. Where both percentiles of a channel are
    equal though it is not flat (a few bright pixels on black), its minimum and maximum take their place.

    Args:
        pixels: (channels, height, width), uint8, uint16 or finite floats; not changed.
        spec: Gives `intensity` and `percentiles`.

    Returns:
        Float32 of the same shape, in [0, 1]; for floats under `standardize` as they are.
    """
    if spec.intensity in ("unit", "standardize"):
        scaled = pixels.astype(np.float32)
        return scaled / np.float32(np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1)
    if spec.intensity == "minmax_joint":
        return _stretch(pixels, float(pixels.min()), float(pixels.max()))
    planes = []
    for plane in pixels:
        low, high = float(plane.min()), float(plane.max())
        if spec.intensity == "percentile":
            p_low, p_high = (float(p) for p in np.percentile(plane, spec.percentiles))
            low, high = (p_low, p_high) if p_low < p_high else (low, high)
        planes.append(_stretch(plane, low, high))
    return np.stack(planes)


def _stretch(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """(pixels - low) / (high - low), clipped to [0, 1]; zero where low equals high."""
    if not high > low:
        return np.zeros(pixels.shape, dtype=np.float32)
    scaled = (pixels.astype(np.float64) - low) / (high - low)
    return np.clip(scaled, 0, 1, out=scaled).astype(np.float32)


def standardize(planes: Tensor) -> Tensor:
    """(x - mean) / (sd + 1e-7) of each plane, sd over all pixels (not n - 1); a flat plane becomes zero.

    Source: self_normalize of broadinstitute/DINO4Cells_code and facebookresearch/dinov2 (Cell-DINO).
    """
    wide = planes.double()
    mean = wide.mean(dim=(-2, -1), keepdim=True)
    sd = wide.std(dim=(-2, -1), keepdim=True, correction=0)
    low, high = planes.amin(dim=(-2, -1), keepdim=True), planes.amax(dim=(-2, -1), keepdim=True)
    flat = high - low <= FLAT * torch.maximum(high.abs(), low.abs())
    return torch.where(flat, 0.0, (wide - mean) / (sd + EPS)).float()


Resize = Callable[[Tensor, int, int, str], Tensor]
"""As `resizing.resized`: planes, height, width, "bilinear" or "bicubic"."""


def resize_and_crop(
    planes: Tensor, spec: EncoderSpec, *, pixel_size_um: float | None = None, resize: Resize = resized
) -> Tensor:
    """Planes at the size that `spec.resize` asks for, except for padding.

    Args:
        planes: Float32, (channels, height, width).
        spec: Gives `resize`, `input_px`, `interpolation` and `pixel_size_um`.
        pixel_size_um: Of the image; None where unknown, then nothing is rescaled to the encoder's pixel size. Without
            influence where a resize to `input_px` follows.
        resize: What resizes, if the size changes.

    Returns:
        Float32, (channels, h, w): `input_px` squared for `square` and `short_edge_crop`, at most that for
        `center_crop_pad`, any size otherwise.

    Raises:
        ImageRejectedError: As `resized_px`.
    """
    height, width = resized_px(planes.shape[-2:], spec, pixel_size_um=pixel_size_um)
    if planes.shape[-2:] != (height, width):
        planes = resize(planes, height, width, spec.interpolation)
    if spec.resize in ("short_edge_crop", "center_crop_pad") and spec.input_px:
        return _crop(planes, spec.input_px)
    return planes


def resized_px(shape: Sequence[int], spec: EncoderSpec, *, pixel_size_um: float | None) -> tuple[int, int]:
    """Height and width to which an image is resized before anything is cropped or padded.

    Args:
        shape: Height and width of the image, pixels.
        spec: As in `resize_and_crop`.
        pixel_size_um: As in `resize_and_crop`.

    Raises:
        ImageRejectedError: If rescaling would give an edge of 0 or beyond `MAX_EDGE_PX`.
    """
    height, width = shape
    fixed_scale = spec.resize in ("center_crop_pad", "none_pad_to_patch") or not spec.input_px
    if fixed_scale and spec.pixel_size_um is not None and pixel_size_um is not None:
        factor = pixel_size_um / spec.pixel_size_um
        height, width = round(height * factor), round(width * factor)
        if min(height, width) < 1 or max(height, width) > MAX_EDGE_PX:
            message = (
                f"image of {tuple(shape)} px at {pixel_size_um:g} um would be {height} x {width} px "
                f"at the encoder's {spec.pixel_size_um:g} um"
            )
            raise ImageRejectedError(message)
    edge = spec.input_px
    if spec.resize == "square" and edge:
        return edge, edge
    if spec.resize == "short_edge_crop" and edge:
        factor = edge / min(height, width)
        return max(edge, round(height * factor)), max(edge, round(width * factor))
    return height, width


def _crop(planes: Tensor, edge: int) -> Tensor:
    """The central `edge` x `edge` pixels, fewer along an axis that is shorter."""
    height, width = planes.shape[-2:]
    top, left = max(0, (height - edge) // 2), max(0, (width - edge) // 2)
    return planes[..., top : top + edge, left : left + edge]


def pad(planes: Tensor, height: int, width: int) -> Tensor:
    """Zeros around the planes up to at least this size, the odd pixel at the bottom and right."""
    rows, columns = max(0, height - planes.shape[-2]), max(0, width - planes.shape[-1])
    return functional.pad(planes, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def pad_to_patch(planes: Tensor, patch_px: int) -> Tensor:
    """Zeros around the planes up to the next multiple of `patch_px`, so that no pixel is dropped."""
    height, width = (math.ceil(edge / patch_px) * patch_px for edge in planes.shape[-2:])
    return pad(planes, height, width)
