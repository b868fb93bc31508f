"""Forward passes of a network on a device: side by side on a CPU, and halved where the memory does not take them."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locatlas.errors import InputError
from locatlas.models.lanes import Lanes
from locatlas.models.precision import full_float32
from locatlas.models.spec import EncoderSpec
from locatlas.models.views import turned

__all__ = ["Passes"]

logger = logging.getLogger(__name__)

_SIDE_BY_SIDE = 4096
"""Patches an image beyond which passes follow each other, with all threads each: they take memory, and are long enough
to be cut."""


class Passes:
    """What a network makes of batches.

    Args:
        spec: What decides the vectors.
        network: A module, or what runs one: float32 (n, slots, h, w) to (n, d).
        device: Where it runs.
        patch_px: Edge of a patch.

    Attributes:
        network: As given.
    """

    def __init__(self, spec: EncoderSpec, network: Any, device: torch.device, *, patch_px: int) -> None:
        self.network = network
        self._spec, self._device, self._patch_px = spec, device, patch_px
        self._fits: int | None = None  # images per forward pass, once more were too many
        self._tried: set[tuple[torch.Size, int]] = set()  # shapes of images, and numbers of them, that memory takes

    def over(
        self, inputs: Sequence[Tensor], *, size: int, lanes: Lanes | None
    ) -> Iterator[tuple[Sequence[int], NDArray[np.float32]]]:
        """Passes over images of any shapes, which are batched by shape.

        Args:
            inputs: Of each image, (passes, slots, h, w).
            size: Images a pass; the last of a shape is filled up.
            lanes: For passes side by side; None has all threads in each.

        Yields:
            Places of some images, and the rows that were made of them, float32 (at least as many, passes * d).

        Raises:
            InputError: If the memory does not take a single image.
        """
        by_shape: dict[torch.Size, list[int]] = {}
        for i, tensor in enumerate(inputs):
            by_shape.setdefault(tensor.shape, []).append(i)
        for indices in by_shape.values():
            start = 0
            while start < len(indices):
                size = size if self._fits is None else min(size, self._fits)
                for rows, found in self._some(inputs, indices[start:], size, lanes):
                    if found is None:
                        break
                    yield rows, found
                    start += size

    def _some(
        self, inputs: Sequence[Tensor], indices: Sequence[int], size: int, lanes: Lanes | None
    ) -> Iterable[tuple[Sequence[int], NDArray[np.float32] | None]]:
        """Passes of so many images of one shape, side by side in lanes; the first of its kind alone, which may fail."""

        def passed(rows: Sequence[int]) -> NDArray[np.float32] | None:
            # matrix products pick their kernels by size: only batches of one size give an image the same bits in
            # a run that was interrupted and continued
            spare = [inputs[rows[0]]] * (size - len(rows))
            return self._or_halve(torch.stack([inputs[i] for i in rows] + spare))

        shape = inputs[indices[0]].shape
        if lanes is None or math.prod(shape[-2:]) > _SIDE_BY_SIDE * self._patch_px**2:
            return [(indices[:size], passed(indices[:size]))]
        if (shape, size) not in self._tried:
            [found] = lanes.map(passed, [indices[:size]])
            if found is not None:
                self._tried.add((shape, size))
            return [(indices[:size], found)]
        cut = [indices[start : start + size] for start in range(0, len(indices), size)]
        return zip(cut, lanes.map(passed, cut), strict=True)

    def _or_halve(self, batch: Tensor) -> NDArray[np.float32] | None:
        """As `forward`; None where the memory does not take the batch, and half of it is to be tried."""
        try:
            with full_float32(self._device):
                return self.forward(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                message = (
                    f"encoder {self._spec.name}: one image of {tuple(batch.shape[1:])} does not fit into the memory of "
                    f"{self._device}; free some, or take a smaller encoder"
                )
                raise InputError(message) from error
        # here, because the error keeps the tensors of the pass that failed
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if self._fits is None:
            logger.warning(
                "%s: %d images at once do not fit into the memory of %s; goes on with %d, or fewer if need be, which "
                "changes no more than rounding", self._spec.name, len(batch), self._device, len(batch) // 2
            )  # fmt: skip
        self._fits = len(batch) // 2
        return None

    @torch.inference_mode()
    def forward(self, batch: Tensor) -> NDArray[np.float32]:
        """(b, passes, slots, h, w) -> (b, passes * d)."""
        flat = batch.flatten(0, 1).to(device=self._device, dtype=torch.float32)
        # cuDNN rounds float32 convolutions to TF32 unless told otherwise; "fp32" in a fingerprint must mean fp32
        with _without_tf32() if self._device.type == "cuda" else nullcontext():
            views = [self.network(turned(flat, view)).float() for view in range(self._spec.views)]
        features = torch.stack(views).mean(dim=0).cpu()
        embeddings: NDArray[np.float32] = features.reshape(batch.shape[0], -1).numpy()
        return embeddings


def _without_tf32() -> AbstractContextManager[None]:
    return torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
