"""An image looked at in random ways: crops, turns, brightness, contrast, lost stains; ready for the network. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from locatlas.errors import InputError
from locatlas.models.channels import Pass, assemble, plan
from locatlas.models.spec import EncoderSpec
from locatlas.models.transforms import pad, pad_to_patch, standardize
from locatlas.models.views import turned

__all__ = ["PROTEIN", "Augmentation", "crop_box", "plain_view", "random_view"]

PROTEIN = "protein"
"""The channel that is never dropped: the one whose localization is learned."""

_EPS = 1e-7  # as in transforms.standardize
_FLAT = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How images are varied. Probabilities in [0, 1].

    Attributes:
        scale: Least and largest share of the image's area that a crop takes.
        aspect: Widest edge ratio of a crop, >= 1; 4/3 as torchvision and DINO have it.
        flips: Mirror half of the crops.
        rotations: Turn by any number of quarters.
        brightness: Each channel is multiplied by a factor in [1 - brightness, 1 + brightness].
        contrast: Each channel's distance from its mean, blank parts left out, is multiplied by such a factor.
        rescale_protein: Probability with which the protein is multiplied by a number in [0, 2] (DINO4Cells).
        drop_channel: Probability with which a crop loses stains, never the protein (DINO4Cells: `remove_channel`, 0.2).
            A lost stain's slot is zero after normalization, as for data without it. Joint passes only.
        drop_most: At most so many stains are lost at once, all numbers from 1 alike; DINO4Cells: 1.
    """

    scale: tuple[float, float] = (0.4, 1.0)
    aspect: float = 4 / 3
    flips: bool = True
    rotations: bool = True
    # DINO4Cells draws factors from N(1, 0.2), cut off at 0.5; uniform numbers of the same spread
    brightness: float = 0.35
    contrast: float = 0.35
    rescale_protein: float = 0.2
    drop_channel: float = 0.2
    drop_most: int = 1

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high <= 1 or self.aspect < 1 or self.drop_most < 1:
            message = (
                f"augmentation: scale {self.scale}, aspect {self.aspect}, drop_most {self.drop_most}: "
                "0 < least <= largest <= 1, at least 1 and at least 1 needed"
            )
            raise InputError(message)
        for name in ("brightness", "contrast", "rescale_protein", "drop_channel"):
            if not 0 <= getattr(self, name) <= 1:
                message = f"augmentation: {name} {getattr(self, name)}: in [0, 1] needed"
                raise InputError(message)


def crop_box(height: int, width: int, augmentation: Augmentation, random: Generator) -> tuple[int, int, int, int]:
    """A random part of an image: area and edge ratio within the augmentation's limits, place anywhere.

    Uniform in area, and in the logarithm of the ratio; edges are cut at those of the image (torchvision draws again, up
    to ten times; one draw keeps the number of random numbers fixed), so for tall and wide images large crops are
    somewhat smaller than asked for.

    Returns:
        Top, left, height, width, in pixels; at least one pixel.
    """
    area, ratio, y, x = torch.rand(4, generator=random).tolist()
    low, high = augmentation.scale
    size = height * width * (low + area * (high - low))
    ratio = math.exp((2 * ratio - 1) * math.log(augmentation.aspect))
    h = min(height, max(1, round(math.sqrt(size / ratio))))
    w = min(width, max(1, round(math.sqrt(size * ratio))))
    return int(y * (height - h + 1)), int(x * (width - w + 1)), h, w


def random_view(
    planes: Tensor,
    channels: Sequence[str],
    spec: EncoderSpec,
    augmentation: Augmentation,
    random: Generator,
    *,
    edge_px: int,
    passes: Sequence[Pass] | None = None,
) -> Tensor:
    """A random crop of an image, resized, varied, and put into the network's slots.

    Blank parts (zero in all channels) stay zero in all channels up to `standardize` and the spec's mean, and are marked
    for the poolings that ask; a pixel on their edge counts as shown, where embedding takes the share of it that is.
    `standardize` is done in float32 here, so it differs by rounding from the one of embedding; all else after the crop
    is what embedding does.

    Args:
        planes: From `TrainingImages.planes`: (channels, h, w), float32 or float16, in [0, 1]; not changed.
        channels: Name of each plane.
        spec: The encoder.
        augmentation: What is varied.
        random: Of all draws.
        edge_px: Edge of the result in pixels, a multiple of the patch.
        passes: Of `channels.plan`; None for all that the spec has for these channels.

    Returns:
        Float32, (passes, slots, edge_px, edge_px), one plane more where `spec.needs_blank`.
    """
    passes = plan(spec, channels) if passes is None else passes
    top, left, h, w = crop_box(planes.shape[1], planes.shape[2], augmentation, random)
    cut = planes[:, top : top + h, left : left + w].float()
    # resized with the channels where the pooling goes by it; else told from the result, which costs less
    both = torch.cat([cut, _shown(cut)]) if spec.needs_blank else cut
    if (h, w) != (edge_px, edge_px):
        # bilinear enlarging is the same with and without antialiasing, which costs twice as much
        smooth = max(h, w) > edge_px or spec.interpolation != "bilinear"
        both = functional.interpolate(
            both[None], size=(edge_px, edge_px), mode=spec.interpolation, antialias=smooth, align_corners=False
        )[0]
    quarters, mirror = torch.rand(2, generator=random).tolist()
    view = (int(4 * quarters) if augmentation.rotations else 0) + (4 if augmentation.flips and mirror < 0.5 else 0)
    both = turned(both, view)
    seen, shown = (both[:-1], both[-1:].clamp(0, 1)) if spec.needs_blank else (both, _shown(both))
    varied = _vary(seen, shown, channels, augmentation, random)
    varied = _standardize(varied) if spec.intensity == "standardize" else varied.clamp(0, 1)
    out = assemble(varied, channels, _without(passes, _lost(channels, spec, augmentation, random)), spec)
    return torch.cat([out, shown.expand(len(out), -1, -1, -1)], dim=1) if spec.needs_blank else out


def _shown(planes: Tensor) -> Tensor:
    """1 where any channel is not zero, else 0: (1, h, w)."""
    return (planes.amax(dim=0, keepdim=True) > 0).to(planes.dtype)


def plain_view(planes: Tensor, channels: Sequence[str], spec: EncoderSpec, *, patch_px: int) -> Tensor:
    """A whole image as embedding takes it, for validation.

    Args:
        planes: As `random_view` takes them.
        channels: Name of each plane.
        spec: The encoder.
        patch_px: Edge of the network's patches in pixels.

    Returns:
        As `transforms.network_input`: float32, (passes, slots, h, w), one plane more where `spec.needs_blank`; pixels
        on the edge of blank parts count as shown.
    """
    planes = planes.float()
    both = torch.cat([standardize(planes) if spec.intensity == "standardize" else planes, _shown(planes)])
    if spec.resize == "center_crop_pad":
        both = pad(both, spec.input_px, spec.input_px)
    both = pad_to_patch(both, patch_px)
    out = assemble(both[:-1], channels, plan(spec, channels), spec)
    return torch.cat([out, both[-1:].expand(len(out), -1, -1, -1)], dim=1) if spec.needs_blank else out


def _vary(
    planes: Tensor, shown: Tensor, channels: Sequence[str], augmentation: Augmentation, random: Generator
) -> Tensor:
    """Brightness and contrast of each channel, and the protein's scale: `a x + b shown`.

    A resized image is linear in its pixels, so adding to the resized map of what is shown is adding to every pixel that
    is not blank before resizing, and blank parts stay exactly zero.
    """
    n = len(planes)
    draws = torch.rand(2 * n + 2, generator=random)
    bright = 1 + (2 * draws[:n] - 1) * augmentation.brightness
    contrast = 1 + (2 * draws[n : 2 * n] - 1) * augmentation.contrast
    chance, factor = draws[2 * n :].tolist()
    if PROTEIN in channels and chance < augmentation.rescale_protein:
        bright[list(channels).index(PROTEIN)] *= 2 * factor
    mean = planes.sum(dim=(1, 2)) / shown.sum().clamp_min(1)
    slope = bright * contrast
    offset = bright * (1 - contrast) * mean
    return torch.addcmul(offset[:, None, None] * shown, planes, slope[:, None, None])


def _standardize(planes: Tensor) -> Tensor:
    """As `transforms.standardize`, in float32."""
    variance, mean = torch.var_mean(planes, dim=(1, 2), keepdim=True, correction=0)
    low, high = planes.amin(dim=(1, 2), keepdim=True), planes.amax(dim=(1, 2), keepdim=True)
    flat = high - low <= _FLAT * torch.maximum(high.abs(), low.abs())
    return torch.where(flat, 0.0, (planes - mean) / (variance.sqrt() + _EPS))


def _lost(channels: Sequence[str], spec: EncoderSpec, augmentation: Augmentation, random: Generator) -> set[str]:
    """Stains that this crop loses; at least one channel always stays."""
    chance, number = torch.rand(2, generator=random).tolist()
    order = torch.randperm(len(channels), generator=random).tolist()
    others = [channels[i] for i in order if channels[i] != PROTEIN]
    most = min(augmentation.drop_most, len(others), len(channels) - 1)
    if spec.passes == "separate" or most < 1 or chance >= augmentation.drop_channel:
        return set()
    return set(others[: 1 + int(number * most)])


def _without(passes: Sequence[Pass], lost: set[str]) -> Sequence[Pass]:
    return [Pass(tuple(None if c in lost else c for c in one.sources)) for one in passes] if lost else passes
