"""Which channel of an image goes to which input of a network: the channel plans. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from locatlas.errors import ImageRejectedError, InputError
from locatlas.models.spec import EncoderSpec

__all__ = ["Pass", "assemble", "plan", "slot_permutation", "used_channels"]


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass: what each input of the network gets.

    Attributes:
        sources: For each slot, in the order of the spec's slots, the channel by name; None leaves the slot zero.
    """

    sources: tuple[str | None, ...]


def slot_permutation(slots: Sequence[str], seed: int) -> tuple[int, ...]:
    """Where mapping `random` sends each slot: slot `i` becomes slot `permutation[i]`.

    Ordered by sha256 of seed and slot name, so that it is the same on every machine and under every library version;
    like any random order it can happen to be the natural one.

    Example:
        >>> slot_permutation(("microtubules", "protein", "nucleus", "er"), seed=0)
        (3, 1, 0, 2)
    """
    keys = [hashlib.sha256(f"{seed}/{slot}".encode()).digest() for slot in slots]
    return tuple(sorted(range(len(slots)), key=lambda i: keys[i]))


def used_channels(spec: EncoderSpec, channels: Sequence[str]) -> tuple[str, ...]:
    """The channels of an image that reach the network, in the order of `spec.stains`, else of `spec.slots`.

    Args:
        spec: The encoder.
        channels: Channels that the image has, by meaning.

    Raises:
        ImageRejectedError: If the image lacks a channel that `spec.stains` names, or none of its channels fits a slot.
        InputError: If `spec.stains` names a channel that no slot of the encoder is for.
    """
    if spec.stains:
        unfit = [stain for stain in spec.stains if spec.mapping != "replicate" and stain not in spec.slots]
        if unfit:
            message = (
                f"encoder {spec.name}: no slot for {', '.join(unfit)} among {', '.join(spec.slots)}; "
                "channels 'replicate' take any"
            )
            raise InputError(message)
        if missing := [stain for stain in spec.stains if stain not in channels]:
            message = (
                f"image lacks channel {', '.join(missing)}: it has {', '.join(channels)}, "
                f"encoder {spec.name} needs {', '.join(spec.stains)}"
            )
            raise ImageRejectedError(message)
        return spec.stains
    used = tuple(slot for slot in spec.slots if slot in channels)
    if not used:
        message = (
            f"no channel of the image fits encoder {spec.name}: it has {', '.join(channels)}, "
            f"the slots are {', '.join(spec.slots)}; channels 'replicate' take any"
        )
        raise ImageRejectedError(message)
    return used


def plan(spec: EncoderSpec, channels: Sequence[str]) -> tuple[Pass, ...]:
    """The forward passes for an image with these channels; features are concatenated in this order.

    `natural` puts a channel in the slot of its name. `random` permutes the slots by `slot_permutation`. `replicate`
    copies one channel into all slots. `joint` is one pass, `separate` one for each of `spec.stains`.

    Raises:
        ImageRejectedError: As `used_channels`.
        InputError: As `used_channels`.
    """
    used = used_channels(spec, channels)
    if spec.mapping == "replicate":
        return tuple(Pass((channel,) * len(spec.slots)) for channel in used)
    if spec.mapping == "random":
        assert spec.mapping_seed is not None
        target = slot_permutation(spec.slots, spec.mapping_seed)
    else:
        target = tuple(range(len(spec.slots)))
    groups = [(channel,) for channel in used] if spec.passes == "separate" else [used]
    passes = []
    for group in groups:
        sources: list[str | None] = [None] * len(spec.slots)
        for channel in group:
            sources[target[spec.slots.index(channel)]] = channel
        passes.append(Pass(tuple(sources)))
    return tuple(passes)


def assemble(planes: Tensor, channels: Sequence[str], passes: Sequence[Pass], spec: EncoderSpec) -> Tensor:
    """The network's inputs: planes in their slots, `spec.mean` and `spec.std` applied, empty slots exactly zero.

    Args:
        planes: Scaled channels, float32, (..., channels, h, w); not changed.
        channels: Name of each plane.
        passes: From `plan`.
        spec: Gives `mean` and `std`, which belong to a slot, whichever channel is in it.

    Returns:
        Float32, (..., passes, slots, h, w), on the device of the planes.
    """
    row = {channel: i for i, channel in enumerate(channels)}
    out = planes.new_zeros((*planes.shape[:-3], len(passes), len(spec.slots), *planes.shape[-2:]), dtype=torch.float32)
    for p, one in enumerate(passes):
        for slot, channel in enumerate(one.sources):
            if channel is None:
                continue  # zero after normalization, not before: a missing stain is no black image
            plane = out[..., p, slot, :, :].copy_(planes[..., row[channel], :, :])
            if spec.mean is not None:
                plane -= spec.mean[slot]
            if spec.std is not None:
                plane /= spec.std[slot]
    return out
