"""Which images a step takes, and the random numbers of each: functions of (seed, step, image). Pure."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from locatlas.errors import InputError

__all__ = ["ClassBalanced", "generator", "shuffled"]


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


class ClassBalanced:
    """Draws images so that every class comes equally often, in each batch and not only in the mean.

    A class is drawn, all alike, and then one of its images, all alike, so an image i is drawn with the share
    `1/K sum over its classes c of 1/n_c`; one of several classes is drawn for each. Images of no class are a class
    more, so that they are seen at all. Source of the scheme: DINO4Cells, which draws a class, then an image. Here both
    draws are systematic (one random offset, then equal distances along the classes, images in random order within
    each): in a batch a class is drawn its share of times, rounded up or down, and no image twice for a class before all
    others of it came.

    Args:
        table: Which class an image has, (n, classes).

    Raises:
        InputError: If there is no image.
    """

    def __init__(self, table: NDArray[np.bool_]) -> None:
        if len(table) == 0:
            message = "no images to sample from"
            raise InputError(message)
        wide = np.column_stack([table, ~table.any(axis=1)])
        wide = wide[:, wide.any(axis=0)]
        self._class, self._image = np.nonzero(wide.T)
        counts = wide.sum(axis=0)
        self._ends = np.cumsum(1 / counts[self._class]) / len(counts)
        self._n = len(table)

    @property
    def shares(self) -> NDArray[np.float64]:
        """How often each image is drawn, (n,), sum 1."""
        each = np.diff(self._ends, prepend=0.0)
        found: NDArray[np.float64] = np.bincount(self._image, weights=each, minlength=self._n).astype(np.float64)
        return found

    def indices(self, *, seed: int, step: int, batch_size: int) -> list[int]:
        """The images of a step, in random order.

        Args:
            seed: Of the draws.
            step: From 0.
            batch_size: Images a step.

        Returns:
            `batch_size` numbers in [0, n).
        """
        random = generator(seed, "balanced", step)
        offset = float(torch.rand((), generator=random, dtype=torch.float64))
        mixed = torch.randperm(len(self._image), generator=random).numpy()
        mixed = mixed[np.argsort(self._class[mixed], kind="stable")]  # classes in order, images in any
        places = (np.arange(batch_size) + offset) / batch_size
        # ends are summed in floats: the last may fall short of 1 by rounding
        drawn = np.minimum(np.searchsorted(self._ends, places, side="right"), len(mixed) - 1)
        order: Sequence[int] = torch.randperm(batch_size, generator=random).tolist()
        found: list[int] = self._image[mixed[drawn]][order].tolist()
        return found
