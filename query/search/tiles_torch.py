"""The nearest references by float32 products on a torch device, each tile ranked. Pure; torch is imported on first use.

What `on_device` uses where thresholds do not help.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from locatlas.query.search.exclude import ExclusionIndex
from locatlas.query.search.tiles import Candidates

if TYPE_CHECKING:
    import torch

__all__ = ["on_device", "search_torch", "whole_float32"]

_BLOCK = 2048  # queries and
_TILE = 32768  # references of one tile: 256 MiB of float32 scores


def on_device(references: NDArray[np.float32], device: str) -> "torch.Tensor":
    """Unit vectors, float32 (n_references, d), moved to a torch device for any number of searches.

    Raises:
        InputError: If the device cannot be used here.
    """
    import torch

    from locatlas.models.hardware import usable_device

    return torch.from_numpy(references).to(usable_device(device))


@contextmanager
def whole_float32() -> Iterator[None]:
    """Let float32 products keep all their bits, and those of bfloat16 be summed in float32.

    TF32 keeps 10 bits, far less than what the float64 settlement of near ties allows for.
    """
    import torch

    precision, cuda = torch.get_float32_matmul_precision(), torch.backends.cuda.matmul
    reduced = cuda.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    cuda.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        cuda.allow_bf16_reduced_precision_reduction = reduced


def search_torch(
    queries: NDArray[np.float32],
    references: "torch.Tensor",
    columns: NDArray[np.int64],
    exclusions: ExclusionIndex,
    width: int,
) -> Candidates:
    """The `width` best references of each query.

    Args:
        queries: Unit vectors, float32 (n_queries, d).
        references: Unit vectors, float32 (n_references, d), on the device that is to multiply (`on_device`).
        columns: What each reference is called in the result.
        exclusions: Built for the references in the same order.
        width: Candidates per query, 1 <= width <= n_references.
    """
    import torch

    device = references.device
    indices = np.full((len(queries), width), -1, dtype=np.int64)
    similarities = np.full((len(queries), width), -np.inf, dtype=np.float32)
    with whole_float32():
        for low in range(0, len(queries), _BLOCK):
            rows = np.arange(low, min(low + _BLOCK, len(queries)))
            asking = torch.from_numpy(queries[rows]).to(device)
            best = torch.empty((len(rows), 0), dtype=torch.float32, device=device)
            names = torch.empty((len(rows), 0), dtype=torch.int64, device=device)
            for start in range(0, len(references), _TILE):
                stop = min(start + _TILE, len(references))
                tile = asking @ references[start:stop].T
                struck = exclusions.pairs(rows, start, stop)
                tile[torch.from_numpy(struck[0]).to(device), torch.from_numpy(struck[1]).to(device)] = -torch.inf
                values, places = torch.topk(tile, min(width, stop - start), dim=1)
                best, names = torch.cat([best, values], dim=1), torch.cat([names, places + start], dim=1)
                best, kept = torch.topk(best, min(width, best.shape[1]), dim=1)
                names = torch.gather(names, 1, kept)
            similarities[rows] = best.cpu().numpy()
            indices[rows] = names.cpu().numpy()
    return Candidates(np.where(similarities > -np.inf, columns[indices], -1), similarities)
