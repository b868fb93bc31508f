"""Which images a step takes, and the random numbers of each: functions of (seed, step, image). Pure."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from locatlas.errors import InputError

__all__ = ["balanced", "class_balanced_shares", "generator", "shuffled"]


def generator(*key: int | str) -> Generator:
    """A generator that depends on the key alone, e.g. (seed, step, index), on every machine.

    The key is hashed: neighboring steps and images must not get neighboring streams.
    """
    text = "/".join(map(str, key))
    return Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(torch.randperm(n, generator=generator(seed, "epoch", epoch)).tolist())


def shuffled(n: int, *, seed: int, step: int, batch_size: int) -> list[int]:
    """The images of a step: every image once an epoch, in another order in each; batches run on over its end.

    Args:
        n: Number of images, >= 1.
        seed: Of the orders.
        step: From 0.
        batch_size: Images a step.

    Returns:
        `batch_size` numbers in [0, n).
    """
    first = step * batch_size
    return [_order(n, seed, place // n)[place % n] for place in range(first, first + batch_size)]


def class_balanced_shares(table: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How often each image is drawn when first a class is drawn, all alike, and then one of its images, all alike.

    So `share[i] = 1/K sum over classes c of i of 1/n_c`, and an image of several classes is drawn for each. Images of
    no class are a class more, so that they are seen at all. Source of the scheme: DINO4Cells, which draws a class, then
    an image.

    Args:
        table: Which class an image has, (n, classes).

    Returns:
        Float64, (n,), sum 1.

    Raises:
        InputError: If there is no image.
    """
    if len(table) == 0:
        message = "no images to sample from"
        raise InputError(message)
    wide = np.column_stack([table, ~table.any(axis=1)]).astype(np.float64)
    counts = wide.sum(axis=0)
    present = counts > 0
    shares: NDArray[np.float64] = (wide[:, present] / counts[present]).sum(axis=1) / present.sum()
    return shares


def balanced(shares: NDArray[np.float64], *, seed: int, step: int, batch_size: int) -> list[int]:
    """The images of a step, drawn by their shares, in random order.

    Drawn systematically (one random offset, then equal distances along the summed shares), so that the number of times
    that an image comes in a batch differs from `batch_size * share` by less than 1, and its mean is just that.

    Args:
        shares: From `class_balanced_shares`.
        seed: Of the draws.
        step: From 0.
        batch_size: Images a step.

    Returns:
        `batch_size` numbers in [0, len(shares)); a number can come more than once.
    """
    random = generator(seed, "balanced", step)
    offset = float(torch.rand((), generator=random, dtype=torch.float64))
    places = (np.arange(batch_size) + offset) / batch_size
    ends = np.cumsum(shares)
    chosen = np.searchsorted(ends / ends[-1], places, side="right")
    order: Sequence[int] = torch.randperm(batch_size, generator=random).tolist()
    # where rounding puts a place at the very end, it belongs to the last image that has a share
    last = int(np.flatnonzero(shares)[-1])
    return [min(int(chosen[i]), last) for i in order]
