"""A network in the precision of its spec: bfloat16 where the work is, float32 in between, or bfloat16 throughout."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from locatlas.errors import InputError
from locatlas.models.spec import Precision

__all__ = ["for_autocast", "full_float32", "in_precision"]


class _NarrowConv(nn.Conv2d):
    """A convolution of bfloat16 numbers, whatever comes in; its result is made float32."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.to(torch.bfloat16)).float()


class _WideConv(nn.Conv2d):
    """A convolution whose weights and results are rounded to bfloat16 and whose sums are float32's."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.float()).to(torch.bfloat16)


class _AutocastConv(nn.Conv2d):
    """The same for networks that are trained under autocast: float32 in, float32 out, whatever the context says."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return super().forward(images.float())


def for_autocast(network: nn.Module, device: torch.device) -> None:
    """Let convolutions of a network that runs under bfloat16 autocast be believed; weights and their names stay.

    Args:
        network: Changed in place.
        device: Where it runs; only processors are concerned.
    """
    if device.type != "cpu":
        return
    for one in network.modules():
        if type(one) is nn.Conv2d:
            one.__class__ = _AutocastConv


def in_precision(
    network: nn.Module, precision: Precision, device: torch.device, *, residual: Precision = "fp32"
) -> nn.Module:
    """The network on a device: float32 as it is, or with attention and MLPs in bfloat16, which are nearly all work.

    What runs from block to block, and what they add to it, stays float32, as do norms, positions and pooling: rounded
    in each block as well, vectors are twice as far from float32's and no sooner there
    (docs/decisions/0008-runtimes.md). Encoders of before are rounded so: their `residual` is bf16.

    Convolutions are bfloat16's but on CPUs, a hundredth of a transformer's work: torch 2.13 gives noise for bfloat16
    convolutions with stride on CPUs with AMX; with patches of 16 pixels and 4, 8 or 16 input channels the cosine to
    float32 is 0.1.

    Args:
        network: A vision transformer in float32, its `blocks` somewhere in it; changed in place.
        precision: Of the spec.
        device: Where it goes.
        residual: Of the spec.

    Returns:
        The network, for float32 inputs.

    Raises:
        InputError: If blocks are of a make whose work is not in `attn` and `mlp`.
    """
    network.to(device=device, dtype=torch.float32).eval()
    if precision == "fp32":
        return network
    return _with_wide_stream(network, device) if residual == "fp32" else _rounded(network, device)


def _with_wide_stream(network: nn.Module, device: torch.device) -> nn.Module:
    """Attention, MLPs and, on devices, convolutions in bfloat16."""
    for block in (one for name, part in network.named_modules() if name.endswith("blocks") for one in part.children()):
        for name in ("attn", "mlp"):
            part = getattr(block, name, None)
            if not isinstance(part, nn.Module):
                message = f"blocks of a network are {type(block).__name__}, which has no {name!r}: use precision fp32"
                raise InputError(message)
            part.to(torch.bfloat16).register_forward_pre_hook(_narrowed)
    for conv in network.modules() if device.type != "cpu" else ():
        if type(conv) is nn.Conv2d:
            conv.to(torch.bfloat16)
            conv.__class__ = _NarrowConv
    return network


def _rounded(network: nn.Module, device: torch.device) -> nn.Module:
    """All of it in bfloat16, inputs and results as well; on CPUs convolutions sum in float32."""
    network.to(torch.bfloat16).register_forward_pre_hook(_narrowed)
    for conv in network.modules() if device.type == "cpu" else ():
        if type(conv) is nn.Conv2d:
            conv.float()
            conv.__class__ = _WideConv
    return network


def _narrowed(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return given[0].to(torch.bfloat16), *given[1:]


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Products of float32 that are float32's on CUDA, where a program or a vendor's container may have asked for TF32.

    Args:
        device: Where they are; on a CPU nothing is changed.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
