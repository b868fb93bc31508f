"""Integer pixels to the network's inputs by torch alone, many images at once, on the device where they lie. Pure.

The steps are those of `transforms.network_input`, which is the reference: what differs is the order of float32 sums in
the resize, and with it the last digits (`tests/models/test_device_input.py` says how many).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from locatlas.models.channels import assemble, plan
from locatlas.models.spec import EncoderSpec
from locatlas.models.transforms import pad, pad_to_patch, resize_and_crop, standardize

__all__ = ["network_inputs", "percentiles", "resized_by_products"]

LARGEST_PX = 2048
"""Weights are taken from torch's resize of an identity matrix of this edge at most; larger planes are left to torch."""

TOPS = {torch.uint8: 255, torch.int16: 65535}
"""Largest value by type. int16 holds the bits of uint16, for which torch has few operations."""


@torch.inference_mode()
def network_inputs(
    pixels: Tensor, channels: Sequence[str], spec: EncoderSpec, *, patch_px: int, pixel_size_um: float | None
) -> Tensor:
    """What `transforms.network_input` gives for each of some images, which are alike in size and channels.

    Args:
        pixels: (n, channels, h, w), uint8, or the bits of uint16 in int16; on any device that has float64; not changed.
        channels: What the planes are: those that the encoder takes (`transforms.picked_channels`).
        spec: The encoder.
        patch_px: Edge of the network's patches in pixels.
        pixel_size_um: Of the images, None where unknown.

    Returns:
        Float32 on the same device, (n, passes, slots, h', w'), with one plane more where `spec.needs_blank`.

    Raises:
        ImageRejectedError: If rescaling to the encoder's pixel size gives no size that can be used.
    """
    top = TOPS[pixels.dtype]
    whole = pixels.to(torch.int32)
    if top > 255:
        whole &= 0xFFFF

    def sized(planes: Tensor) -> Tensor:
        flat = planes.reshape(-1, *planes.shape[-2:])
        found = resize_and_crop(flat, spec, pixel_size_um=pixel_size_um, resize=resized_by_products)
        return found.reshape(*planes.shape[:-2], *found.shape[-2:])

    def padded(planes: Tensor) -> Tensor:
        if spec.resize == "center_crop_pad":
            planes = pad(planes, spec.input_px, spec.input_px)
        return pad_to_patch(planes, patch_px)

    low, high = _line(whole, spec, top)
    # whole numbers come off first, exactly: a narrow range far from zero keeps its digits
    base = low.floor()
    low, high = low - base, high - base
    planes = (whole - base.int()).float()
    if spec.intensity == "percentile":
        planes = planes.clamp(low.float(), high.float())
    planes = sized(planes)
    width = high - low
    planes = torch.where(width > 0, (planes - low.float()) / torch.where(width > 0, width, 1.0).float(), 0.0)
    if spec.intensity == "standardize":
        flat = whole.amin(dim=(-2, -1), keepdim=True) == whole.amax(dim=(-2, -1), keepdim=True)
        planes = torch.where(flat, 0.0, standardize(planes))
    inputs = assemble(padded(planes), channels, plan(spec, channels), spec)
    if spec.needs_blank:
        shown = padded(sized((whole != 0).any(dim=1, keepdim=True).float()).clamp(0, 1))
        inputs = torch.cat([inputs, shown[:, None].expand(*inputs.shape[:2], 1, *shown.shape[-2:])], dim=2)
    return inputs


def _line(whole: Tensor, spec: EncoderSpec, top: int) -> tuple[Tensor, Tensor]:
    """As `intensity.scale_line`: what becomes 0 and what becomes 1, float64, (n, channels, 1, 1) each."""
    shape = (*whole.shape[:2], 1, 1)
    if spec.intensity in ("unit", "standardize"):
        ends = torch.zeros(shape, dtype=torch.float64, device=whole.device)
        return ends, ends + top
    over = (1, 2, 3) if spec.intensity == "minmax_joint" else (2, 3)
    low, high = (end(dim=over, keepdim=True).double().expand(shape) for end in (whole.amin, whole.amax))
    if spec.intensity == "percentile":
        found = percentiles(whole.flatten(2).flatten(0, 1), spec.percentiles, top=top)
        p_low, p_high = (values.reshape(shape) for values in found)
        usable = p_low < p_high
        low, high = torch.where(usable, p_low, low), torch.where(usable, p_high, high)
    return low, high


def percentiles(values: Tensor, wanted: tuple[float, float], *, top: int) -> tuple[Tensor, Tensor]:
    """Two of numpy's percentiles (linear) of each row, exactly: by halving the range of values, not by sorting.

    Args:
        values: (rows, n), int32 in [0, top]; not changed.
        wanted: In [0, 100].
        top: Largest value there may be.

    Returns:
        Float64, (rows,) each.
    """
    count, found = values.shape[1], []
    for q in wanted:
        place = (count - 1) * (q / 100)
        rank = int(place)
        below, above = _ranked(values, rank, top)
        share, width = place - rank, above - below
        # from the nearer end, as numpy does
        found.append(above - width * (1 - share) if share >= 0.5 else below + width * share)
    return found[0], found[1]


def _ranked(values: Tensor, rank: int, top: int) -> tuple[Tensor, Tensor]:
    """The value of a rank from 0 in the sorted order of each row, and the next; float64, (rows,)."""
    count = values.shape[1]
    if rank == count - 1:
        greatest = values.amax(dim=1).double()
        return greatest, greatest
    if rank == 0:
        at = values.amin(dim=1, keepdim=True)
    else:
        low, at = torch.zeros_like(values[:, :1]), torch.full_like(values[:, :1], top)
        for _ in range(math.ceil(math.log2(top + 1))):
            middle = (low + at) // 2
            enough = (values <= middle).sum(dim=1, keepdim=True) > rank
            low, at = torch.where(enough, low, middle + 1), torch.where(enough, middle, at)
    beyond = torch.where(values > at, values, top).amin(dim=1)
    again = (values <= at).sum(dim=1) > rank + 1
    return at[:, 0].double(), torch.where(again, at[:, 0], beyond).double()


def resized_by_products(planes: Tensor, height: int, width: int, mode: str) -> Tensor:
    """What `resizing.resized` gives up to rounding, as two products of all planes with torch's weights.

    Args:
        planes: (planes, h, w), float32; not changed.
        height: >= 1.
        width: >= 1.
        mode: "bilinear" or "bicubic".

    Returns:
        (planes, height, width), float32, on the device of the planes.
    """
    if max(planes.shape[-2:]) > LARGEST_PX:
        return _by_torch(planes, height, width, mode)
    down = _weights(planes.shape[-2], height, mode, planes.device)
    across = _weights(planes.shape[-1], width, mode, planes.device)
    return down @ planes @ across.T


def _by_torch(planes: Tensor, height: int, width: int, mode: str) -> Tensor:
    return functional.interpolate(planes[None], size=(height, width), mode=mode, antialias=True, align_corners=False)[0]


@lru_cache(maxsize=16)
def _weights(before: int, after: int, mode: str, device: torch.device) -> Tensor:
    """The weights of one axis, (after, before): as the processor computes them, on every device."""
    return _by_torch(torch.eye(before)[None], after, before, mode)[0].to(device)
