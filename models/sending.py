"""Images on their way to the device that prepares them: checked and sent ahead in threads, prepared in groups there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from locatlas.errors import InputError
from locatlas.models.device_input import network_inputs
from locatlas.models.precision import full_float32
from locatlas.models.running import Prepare, Runtime
from locatlas.models.spec import EncoderSpec
from locatlas.models.transforms import picked_channels, resized_px
from locatlas.types import ChannelImage

__all__ = ["Sender", "Sent", "sender"]

TOGETHER = 8
"""Images that are prepared at once, filled up where there are fewer: products pick their kernels by size, so that an
image's bits depend neither on how many come along nor on which."""

TOGETHER_PX = 2**24
"""Pixels, channels counted, beyond which fewer images are prepared at once: 64 MB in float32, several times over."""


LEAST_SD = 1e-6
"""Numbers in [0, 1], or standardized ones, stay finite when divided by more than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """An image on a device, or on its way to it.

    Attributes:
        pixels: (channels, h, w), uint8, or the bits of uint16 in int16; on the device, or in this machine's memory
            where the device had no room.
        channels: Those that the encoder takes.
        pixel_size_um: None where unknown.
        size: Height and width to which it is resized.
        arrived: What a stream of the device has to wait for; None for nothing.
    """

    pixels: Tensor
    channels: tuple[str, ...]
    pixel_size_um: float | None
    size: tuple[int, int]
    arrived: Any = None

    @property
    def kind(self) -> tuple[Any, ...]:
        """What images have in common that can be prepared together."""
        return self.pixels.shape, self.pixels.dtype, self.channels, self.size


def sender(
    spec: EncoderSpec, device: torch.device, patch_px: int, runtime: Runtime, prepare: Prepare
) -> "Sender | None":
    """What sends images to the device that prepares them; None where the processor does.

    Args:
        spec: The encoder.
        device: Of the network.
        patch_px: Edge of the network's patches in pixels.
        runtime: Of the network.
        prepare: As in `running.Running`.

    Raises:
        InputError: If the device cannot prepare.
    """
    if prepare == "cpu" or (prepare == "auto" and device.type != "cuda"):
        return None
    if runtime == "openvino" or device.type not in ("cuda", "cpu"):
        message = f"images cannot be prepared on {device} for the runtime {runtime}: prepare them on the cpu"
        raise InputError(message)
    # where the spec's own numbers are beyond all bounds, each image is looked at, and refused by its name
    if spec.std is not None and not all(np.isfinite(s) and abs(s) > LEAST_SD for s in spec.std):
        return None
    return Sender(spec, device, patch_px)


class Sender:
    """Sends images to a device and prepares them there.

    Args:
        spec: The encoder.
        device: "cuda" or "cpu"; the latter to try and to test it.
        patch_px: Edge of the network's patches in pixels.
    """

    def __init__(self, spec: EncoderSpec, device: torch.device, patch_px: int) -> None:
        self._spec, self._device, self._patch_px = spec, device, patch_px
        # beside the one that computes, so that an image arrives while the batch before is encoded
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, image: ChannelImage) -> Sent:
        """An image of integers that can be used, on its way. Safe to call from several threads.

        Raises:
            ImageRejectedError: If it cannot be used; says why.
            InputError: If the spec names channels that it has no slot for.
        """
        used = picked_channels(image, self._spec)
        size = resized_px(used.pixels.shape[1:], self._spec, pixel_size_um=used.pixel_size_um)
        bits = used.pixels.view(np.int16) if used.pixels.dtype == np.uint16 else used.pixels
        pixels, arrived = self._moved(bits)
        return Sent(pixels, used.channels, used.pixel_size_um, size, arrived)

    def _moved(self, bits: np.ndarray[Any, Any]) -> tuple[Tensor, Any]:
        if self._stream is None:
            # torch takes no array that cannot be written
            return torch.from_numpy(np.require(bits, requirements=["C", "W"])), None
        kind = torch.int16 if bits.dtype == np.int16 else torch.uint8
        # on the stream's device: memory that is pinned for another one takes room there
        with torch.cuda.stream(self._stream):
            held = torch.empty(bits.shape, dtype=kind, pin_memory=True)
            np.copyto(held.numpy(), bits)
            try:
                return held.to(self._device, non_blocking=True), self._stream.record_event()
            except torch.OutOfMemoryError:
                return held, None  # goes when its turn comes

    def ready(self, inputs: Sequence[Sent | Tensor]) -> list[Tensor]:
        """Inputs of the network on the device, (passes, slots, h, w) each, in the order given.

        Args:
            inputs: From `send`; or prepared on the processor, which only moves.

        Raises:
            InputError: If the device's memory does not take a group of images.
        """
        found: list[Tensor | None] = [None] * len(inputs)
        alike: dict[tuple[Any, ...], list[int]] = {}
        for i, one in enumerate(inputs):
            if isinstance(one, Sent):
                alike.setdefault(one.kind, []).append(i)
            else:
                found[i] = one.to(self._device)
        for rows in alike.values():
            kind: Any = inputs[rows[0]]
            at_once = max(1, min(TOGETHER, TOGETHER_PX // kind.pixels.numel()))
            for start in range(0, len(rows), at_once):
                some = rows[start : start + at_once]
                for i, one in zip(some, self._prepared([inputs[i] for i in some], at_once), strict=False):
                    found[i] = one
        return [one for one in found if one is not None]

    @torch.inference_mode()
    def _prepared(self, group: Sequence[Any], at_once: int) -> Tensor:
        """Inputs of images that are alike, (at_once, passes, slots, h, w); those behind the group are its first."""
        first = group[0]
        try:
            here = [self._here(one) for one in group]
            pixels = torch.stack(here + here[:1] * (at_once - len(here)))
            with full_float32(self._device):
                return network_inputs(
                    pixels, first.channels, self._spec, patch_px=self._patch_px, pixel_size_um=first.pixel_size_um
                )
        except torch.OutOfMemoryError as error:
            message = (
                f"encoder {self._spec.name}: {at_once} images of {tuple(first.pixels.shape)} cannot be prepared in the "
                f"memory of {self._device}; free some, or prepare on the processor (--prepare cpu)"
            )
            raise InputError(message) from error

    def _here(self, one: Sent) -> Tensor:
        if one.arrived is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(one.arrived)
            one.pixels.record_stream(stream)  # not to be reused before this stream is done with it
        return one.pixels.to(self._device, non_blocking=True)
