"""An image as training takes it: scaled and resized by the encoder's spec, the rest left to augmentation. Pure."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from locatlas.errors import ImageRejectedError
from locatlas.models.qc import check_usable
from locatlas.models.spec import EncoderSpec
from locatlas.models.transforms import resize_and_crop, scale_intensity
from locatlas.types import ChannelImage

__all__ = ["FAINTEST", "training_planes"]

FAINTEST = 2.0**-14
"""What the darkest pixels of an image become where the pooling has to tell them from blank ones; float16 holds it."""


def training_planes(image: ChannelImage, channels: Sequence[str], spec: EncoderSpec) -> Tensor:
    """The first steps of `transforms.network_input`: pick channels, scale, resize, crop.

    Standardizing, mean, sd and padding come after augmentation. Two differences, so that augmentation may count on
    numbers in [0, 1] and on zeros: what interpolation throws beyond the range is cut off, and floats under
    `standardize`, whose range says nothing, are stretched by channel, which standardizing undoes.

    Args:
        image: Any size and one of the types of `ChannelImage`; not changed.
        channels: Those that are wanted, in this order.
        spec: The encoder.

    Returns:
        Float16, (channels, h, w), in [0, 1]: half of float32's memory at an error of 0.02 % of the value, where uint8
        would lose the dim structures of an image that few pixels make bright. Where `spec.needs_blank`, exactly 0 in
        all channels where the image is blank, and there only: other pixels that would be are `FAINTEST`.

    Raises:
        ImageRejectedError: If the image lacks a channel or cannot be used; says why.
    """
    if missing := [channel for channel in channels if channel not in image.channels]:
        message = f"image lacks channel {', '.join(missing)}: it has {', '.join(image.channels)}"
        raise ImageRejectedError(message)
    picked = image.pixels[[image.channels.index(channel) for channel in channels]]
    used = ChannelImage(picked, tuple(channels), image.pixel_size_um)
    check_usable(used, unit_range=spec.intensity == "unit")
    scaled = scale_intensity(picked, spec)
    if spec.intensity == "standardize" and picked.dtype.kind == "f":
        low, high = scaled.min(axis=(1, 2), keepdims=True), scaled.max(axis=(1, 2), keepdims=True)
        scaled = np.where(high > low, (scaled - low) / np.where(high > low, high - low, 1), 0).astype(np.float32)
    planes = resize_and_crop(torch.from_numpy(scaled), spec, pixel_size_um=image.pixel_size_um).clamp(0, 1)
    if not torch.isfinite(planes).all():
        message = f"pixels from {float(picked.min()):g} to {float(picked.max()):g} cannot be scaled to finite numbers"
        raise ImageRejectedError(message)
    if spec.needs_blank:
        planes = _tell_blank(planes, used, spec)
    return planes.half()


def _tell_blank(planes: Tensor, image: ChannelImage, spec: EncoderSpec) -> Tensor:
    shown = torch.from_numpy((image.pixels != 0).any(axis=0)[None].astype(np.float32))
    shown = resize_and_crop(shown, spec, pixel_size_um=image.pixel_size_um) >= 0.5
    dark = (planes < FAINTEST).all(dim=0, keepdim=True)
    return torch.where(shown, torch.where(dark, FAINTEST, planes), 0.0)
