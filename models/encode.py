"""Images to embeddings: the network of a spec with its weights, on a device. Reads weights files."""

import copy
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from locatlas.errors import ImageRejectedError, InputError, WeightsError
from locatlas.models import batches, vit, weights
from locatlas.models.compiled import compiled_network
from locatlas.models.hardware import native_bf16, usable_device
from locatlas.models.lanes import Lanes, in_one_thread, lanes_here
from locatlas.models.passes import Passes
from locatlas.models.precision import in_precision
from locatlas.models.resolving import resolve
from locatlas.models.running import Prepare, Runtime
from locatlas.models.runtimes import checked, openvino_network
from locatlas.models.sending import Sent, sender
from locatlas.models.spec import EncoderSpec
from locatlas.models.transforms import network_input
from locatlas.types import ChannelImage

__all__ = ["Encoder", "load_encoder", "resolve"]

logger = logging.getLogger(__name__)

_BATCH_CPU = 4
_BATCH_CUDA = 32
_BATCH_OPENVINO = 8
"""Images per forward pass where the caller names no number."""

_USUAL_IMAGES = 32
"""Images that are handed over at once as a rule (`pipeline.BATCH_IMAGES`), whole batches of every usual size."""

_PREPARED_AT_ONCE = 256
"""Images that `encode` holds ready in memory, 0.6 MB each at 224 px with three slots."""

_SENT_AT_ONCE = 64
"""Images that `encode` holds on a device that prepares, with all their pixels."""


def load_encoder(
    spec: EncoderSpec,
    *,
    device: str = "auto",
    runtime: Runtime = "torch",
    prepare: Prepare = "auto",
    batch: int = 0,
) -> "Encoder":
    """The network of a spec with its weights, ready to encode.

    Args:
        spec: From `resolve`, or as stored with an atlas.
        device: `auto` (CUDA if there is one, else the CPU), or torch's name of one.
        runtime: What runs the network; `openvino` is for the CPU, `compiled` is torch's compiler.
        prepare: Where integer pixels are scaled and resized: on the `device` that runs the network, or the `cpu`, in
            whichever thread calls `prepare`; `auto` is `device` on CUDA. Inputs are equal up to rounding.
        batch: Images a forward pass; 0 is what is usual on the device, -1 what a trial finds best (`batches`).

    Raises:
        WeightsError: If the weights are not to be had, are not those of the spec's digest, or do not fit exactly.
        InputError: If the device does not exist here, the runtime is not installed or not for it, or the device cannot
            prepare.
    """
    where = usable_device("cpu" if runtime == "openvino" and device == "auto" else device)
    network = vit.build(spec)
    if vit.embedding_dim(network) != spec.embedding_dim:
        message = f"encoder {spec.name}: gives {vit.embedding_dim(network)} numbers, its spec says {spec.embedding_dim}"
        raise WeightsError(message)
    return Encoder(spec, network, where, runtime, prepare, batch, fill=lambda: _fill(network, spec))


def _fill(network: nn.Module, spec: EncoderSpec) -> None:
    digest = spec.weights_sha256
    if digest is not None and digest.startswith("seed:"):
        vit.seed_weights(network, int(digest.removeprefix("seed:")))
    else:
        weights.fill(network, spec)


def _by_torch(network: nn.Module, spec: EncoderSpec, device: torch.device, runtime: Runtime) -> Any:
    """The network in its precision on the device, compiled where that is asked for."""
    if spec.precision == "bf16" and device.type == "cpu" and not native_bf16():
        logger.warning("%s: this CPU has no bf16 instructions, so bf16 is slower here than fp32 would be", spec.name)
    reference = in_precision(copy.deepcopy(network), "fp32", device) if runtime == "compiled" else None
    network = in_precision(network, spec.precision, device, residual=spec.residual)
    return network if reference is None else checked(compiled_network(network, spec), reference, spec)


class Encoder:
    """A network with its weights on a device. Made by `load_encoder`.

    Args:
        spec: What decides the vectors.
        network: From `vit.build`.
        device: Where it runs.
        runtime: What runs it.
        prepare: Where integer pixels are scaled and resized, as in `load_encoder`.
        batch: Images a forward pass, as in `load_encoder`.
        fill: Gives the network its weights; not called where a converted network that was kept needs none.

    Attributes:
        spec: As given.
        device: As given.

    Raises:
        InputError: If the runtime is not installed, or cannot run the network there, or the device cannot prepare.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        network: nn.Module,
        device: torch.device,
        runtime: Runtime = "torch",
        prepare: Prepare = "auto",
        batch: int = 0,
        *,
        fill: Callable[[], object],
    ) -> None:
        self.spec = spec
        self.device = device
        self._patch_px = vit.patch_px(network)
        self._batch = _BATCH_CUDA if device.type == "cuda" else _BATCH_CPU
        self._sender = sender(spec, device, self._patch_px, runtime, prepare)
        running: Any  # a module, or what runs one
        if runtime == "openvino":
            if device.type != "cpu":
                message = f"runtime openvino is for the CPU, not for {device}"
                raise InputError(message)
            self._batch = _BATCH_OPENVINO
            lanes = lanes_here(batch if batch > 0 else self._batch)
            running = openvino_network(network, spec, fill, lanes=lanes)
        else:
            in_one_thread(fill)
            running = in_one_thread(lambda: _by_torch(network, spec, device, runtime))
        self._passes = Passes(spec, running, device, patch_px=self._patch_px)
        # a compiled network has its number of threads compiled in
        self._lanes = Lanes(self._batch) if device.type == "cpu" and runtime != "compiled" else None
        self._usual, self._batch = self._batch, self._chosen(batch, runtime)
        if self._lanes is not None and self._batch != self._usual:
            self._lanes = Lanes(self._batch)

    def _chosen(self, batch: int, runtime: Runtime) -> int:
        """Images a forward pass: what was asked for, what is usual, or what a trial finds."""
        spec = self.spec
        if batch >= 0:
            return batch or self._batch
        if not spec.input_px or spec.resize == "none_pad_to_patch":
            message = f"encoder {spec.name} takes images of any size, so no batch size is best: name a number"
            raise InputError(message)
        edge = math.ceil(spec.input_px / self._patch_px) * self._patch_px
        passes = len(spec.stains) if spec.passes == "separate" else 1
        image = torch.zeros(passes, len(spec.slots) + spec.needs_blank, edge, edge, device=self.device)

        def passed(batch: Tensor) -> object:
            forward = self._passes.forward
            return forward(batch) if self._lanes is None else list(self._lanes.map(forward, [batch]))

        def measure() -> int:
            found = batches.measured(passed, image, self.device)
            logger.warning("%s on %s: %d images at once, found by trial, are kept", spec.name, self.device, found)
            return found

        return batches.kept(spec, self.device, runtime, measure)

    @property
    def at_once(self) -> int:
        """Fewest images that make whole batches for all lanes, or whole batches where images are of any size.

        0 if the usual number does.
        """
        whole = self._batch
        if self._lanes is not None and self.spec.input_px and self.spec.resize != "none_pad_to_patch":
            whole *= self._lanes.n
        return 0 if _USUAL_IMAGES % whole == 0 else math.ceil(_USUAL_IMAGES / whole) * whole

    @property
    def ran_on(self) -> str:
        """Where the arithmetic is done, as the ledger keeps it: "cpu", "cuda:0, 64 images at once, which prepares"."""
        size = "" if self._batch == self._usual else f", {self._batch} images at once"
        return f"{self.device}{size}" + (", which prepares" if self._sender is not None else "")

    def prepare(self, image: ChannelImage) -> Tensor | Sent:
        """An image made ready for `encode_prepared`. Safe to call from several threads.

        Returns:
            Its forward passes, float32 on the CPU, (passes, slots, h, w); or, where the device prepares and the pixels
            are integers, the image on its way there.

        Raises:
            ImageRejectedError: If the image cannot be used; says why.
            InputError: If the spec names channels that it has no slot for.
        """
        if self._sender is not None and image.pixels.dtype in (np.uint8, np.uint16):
            return self._sender.send(image)
        return network_input(image, self.spec, patch_px=self._patch_px)

    def encode_prepared(self, inputs: Sequence[Any], *, batch_size: int | None = None) -> NDArray[np.float32]:
        """Embeddings of images that `prepare` has made ready.

        Where the device's memory does not take a batch, it is halved until it does, from then on for all that follow:
        their vectors are those of the larger batch up to rounding (on a CPU 2e-5 of numbers near 1).

        Args:
            inputs: One of what `prepare` gives per image; different sizes are fine, and are batched by size.
            batch_size: Images per forward pass; None chooses by device. The last batch is filled up to it, so that a
                vector's bits depend on this size alone, not on how many images come along; 1 is quickest for a
                single image.

        Returns:
            Float32, (len(inputs), spec.dim), in the order of the inputs, finite, not normalized.

        Raises:
            WeightsError: If the network gives a number that is not finite.
            InputError: If the memory does not take a single image.
        """
        out = np.empty((len(inputs), self.spec.dim), dtype=np.float32)
        # a question's image wants all cores; what is stored has them the same way each time
        lanes = None if batch_size == 1 and len(inputs) == 1 else self._lanes
        inputs = inputs if self._sender is None else self._sender.ready(inputs)
        for rows, found in self._passes.over(inputs, size=batch_size or self._batch, lanes=lanes):
            out[rows] = found[: len(rows)]
        if not np.isfinite(out).all():
            message = f"encoder {self.spec.name} gives numbers that are not finite: its weights are damaged"
            raise WeightsError(message)
        return out

    def encode(self, images: Iterable[ChannelImage], *, batch_size: int | None = None) -> NDArray[np.float32]:
        """Embeddings of images, prepared one by one and run in batches.

        Args:
            images: Of any sizes and types; not changed.
            batch_size: Images per forward pass, as `encode_prepared`; None chooses by device.

        Returns:
            Float32, (n, spec.dim), in the order of the images, finite, not normalized. The parts of separate passes
            stand in the order of `spec.stains`.

        Raises:
            ImageRejectedError: If an image cannot be used; names its place in the sequence and says why.
        """
        done, inputs = [], []
        at_once = _PREPARED_AT_ONCE if self._sender is None else _SENT_AT_ONCE
        for i, image in enumerate(images):
            try:
                inputs.append(self.prepare(image))
            except ImageRejectedError as error:
                message = f"image {i}: {error}"
                raise ImageRejectedError(message) from error
            if len(inputs) >= at_once:
                done.append(self.encode_prepared(inputs, batch_size=batch_size))
                inputs = []
        done.append(self.encode_prepared(inputs, batch_size=batch_size))
        return np.concatenate(done)
