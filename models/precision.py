"""A network in the precision of its spec, with convolutions that can be believed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from locatlas.models.spec import Precision

__all__ = ["for_autocast", "full_float32", "in_precision"]


class _WideConv(nn.Module):
    """A convolution whose weights and results are rounded to bfloat16 and whose sums are float32's.

    torch 2.13 gives noise for bfloat16 convolutions with stride on CPUs with AMX: with patches of 16 pixels and 4, 8 or
    16 input channels the cosine to float32 is 0.1 (`tests/models/test_precision.py`). One convolution is a hundredth of
    a transformer's work.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv.to(torch.bfloat16).float()

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.conv(images.float())
        return found.to(torch.bfloat16)


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


def in_precision(network: nn.Module, precision: Precision, device: torch.device) -> nn.Module:
    """The network on a device: float32 as it is, or weights and results in bfloat16, which is faster than autocast.

    Args:
        network: In float32; changed in place.
        precision: Of the spec.
        device: Where it goes.
    """
    if precision == "fp32":
        return network.to(device=device, dtype=torch.float32).eval()
    network.to(device=device, dtype=torch.bfloat16)
    if device.type == "cpu":
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Conv2d):
                    setattr(parent, name, _WideConv(child))
    return network.eval()


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
