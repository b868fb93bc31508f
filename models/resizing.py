"""Antialiased resizing on the CPU as a few small matrix products: torch's weights, in half of its time. Pure."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = ["resized"]

LARGEST_PX = 2048
"""Weights are taken from torch's resize of an identity matrix of this edge at most; larger planes are left to torch."""

ROWS = 8
"""Rows of a product: so few that BLAS keeps it in the thread that asks, and most of its weights are not zero."""

Block = tuple[slice, slice, NDArray[np.float32]]
"""Rows that come out, rows that go in, the weights between them."""


def resized(planes: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Planes at another size, antialiased; what `functional.interpolate` gives up to rounding.

    Args:
        planes: (channels, h, w), float32; not changed.
        height: >= 1.
        width: >= 1.
        mode: "bilinear" or "bicubic".

    Returns:
        (channels, height, width), float32.
    """
    if planes.device.type != "cpu" or max(planes.shape[-2:]) > LARGEST_PX:
        return _by_torch(planes, height, width, mode)
    down, across = _blocks(planes.shape[-2], height, mode), _blocks(planes.shape[-1], width, mode)
    out = np.empty((len(planes), height, width), np.float32)
    for target, plane in zip(out, np.ascontiguousarray(planes.numpy()), strict=True):
        target[...] = _product(across, np.ascontiguousarray(_product(down, plane).T)).T
    return torch.from_numpy(out)


def _by_torch(planes: Tensor, height: int, width: int, mode: str) -> Tensor:
    return functional.interpolate(planes[None], size=(height, width), mode=mode, antialias=True, align_corners=False)[0]


def _product(blocks: tuple[Block, ...], plane: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.empty((blocks[-1][0].stop, plane.shape[1]), np.float32)
    for rows, taken, weights in blocks:
        np.matmul(weights, plane[taken], out=out[rows])
    return out


@lru_cache(maxsize=64)
def _blocks(before: int, after: int, mode: str) -> tuple[Block, ...]:
    """The weights of one axis, without most of their zeros."""
    weights = _by_torch(torch.eye(before)[None], after, before, mode)[0].numpy()
    blocks = []
    for first in range(0, after, ROWS):
        rows = slice(first, min(first + ROWS, after))
        used = np.flatnonzero(weights[rows].any(axis=0))
        taken = slice(int(used[0]), int(used[-1]) + 1)
        blocks.append((rows, taken, np.ascontiguousarray(weights[rows, taken])))
    return tuple(blocks)
