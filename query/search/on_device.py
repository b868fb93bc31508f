"""The nearest references on a torch device: scores that beat a threshold are listed, others never leave a tile. Pure.

A sample of the references tells each query what its best will beat. Tiles of scores are compared with that, and what
beats it is moved to short lists, of which the best are taken: ranking whole rows of scores would take longer than
multiplying them. Where the device multiplies bfloat16, the first scores are taken so, the best of each list are scored
again in float32, and a bound proves that nothing was missed (`coarse` has the reasoning). Queries that are not proven
go to float32 products, and those whose threshold misled to plain ranking (`tiles_torch`): the result is the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.query.search.exclude import ExclusionIndex
from locatlas.query.search.tiles import Candidates, rank_of_threshold
from locatlas.query.search.tiles_torch import on_device, search_torch, whole_float32

if TYPE_CHECKING:
    import torch

__all__ = ["OnDevice"]

_BLOCK = 2048  # queries and
_TILE = 32768  # references of one tile: 128 MiB of bfloat16 scores
_SAMPLE = 8192  # references that tell how near the best are, an eighth of all at most
_SPARE = 64  # kept beyond the wanted, to be scored again
_GATHERED = 1 << 26  # float32 numbers gathered at once (256 MiB)
_OBSERVED = 0.25  # share of the bound that errors are expected to reach
_HALF_UNIT = 2.0**-8  # of bfloat16, relative to the number


def multiplies_narrow(device: "torch.device") -> bool:
    """Whether bfloat16 products are to find the candidates on this device: on GPUs that have them."""
    import torch

    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Codes:
    """References in bfloat16, on the device.

    Attributes:
        codes: Of the references less their mean, bfloat16 (n, d).
        mean: float32 (d,).
        error: Largest norm of what coding lost.
        norm: Largest norm of a coded vector before coding.
    """

    codes: "torch.Tensor"
    mean: "torch.Tensor"
    error: float
    norm: float

    @classmethod
    def of(cls, unit: "torch.Tensor") -> Self:
        """Code unit vectors, float32 (n, d)."""
        import torch

        mean = unit[:_SAMPLE].mean(dim=0)  # they are in random order, and any mean will do
        codes = torch.empty_like(unit, dtype=torch.bfloat16)
        norm = error = 0.0
        for low in range(0, len(unit), _TILE):
            part = unit[low : low + _TILE] - mean
            codes[low : low + _TILE] = part
            norm = max(norm, float(torch.linalg.vector_norm(part, dim=1).max()))
            part -= codes[low : low + _TILE]
            error = max(error, float(torch.linalg.vector_norm(part, dim=1).max()))
        slack = 1 + 1e-4 + 2.0**-24 * unit.shape[1]
        return cls(codes, mean, error * slack, norm * slack)


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """What beat the thresholds of a block.

    Attributes:
        scores: (n_rows, capacity), -inf where there are no more.
        places: Of the references, int64.
        fits: Rows of which all that beat the threshold is listed, bool (n_rows,).
        threshold: (n_rows,).
    """

    scores: "torch.Tensor"
    places: "torch.Tensor"
    fits: "torch.Tensor"
    threshold: "torch.Tensor"


@dataclass(frozen=True, slots=True, eq=False)
class OnDevice:
    """References laid out on a device, for any number of searches.

    Attributes:
        unit: Unit vectors, float32 (n, d), in random order.
        columns: What each is called in the result, int64 (n,).
        excluded: Codes of each by exclusion, as `ExclusionIndex.column_codes` gives them, int64 (n,).
        narrow: The same in bfloat16; None where products are float32.
    """

    unit: "torch.Tensor"
    columns: NDArray[np.int64]
    excluded: "tuple[torch.Tensor, ...]"
    narrow: _Codes | None

    @classmethod
    def of(cls, unit: NDArray[np.float32], columns: NDArray[np.int64], exclusions: ExclusionIndex, device: str) -> Self:
        """Move references to a device.

        Args:
            unit: Unit vectors in random order.
            columns: What each is called in the result.
            exclusions: Built for them in this order.
            device: Where to.

        Raises:
            InputError: If the device cannot be used here.
        """
        import torch

        there = on_device(unit, device)
        excluded = tuple(torch.from_numpy(codes).to(there.device) for codes in exclusions.column_codes())
        narrow = _Codes.of(there) if len(unit) and multiplies_narrow(there.device) else None
        return cls(there, columns, excluded, narrow)

    def search(
        self, queries: NDArray[np.float32], exclusions: ExclusionIndex, width: int
    ) -> tuple[Candidates, NDArray[np.bool_]]:
        """The `width` best references of each query.

        Args:
            queries: Unit vectors, float32 (n_queries, d).
            exclusions: Built for these queries, and for the references in their order.
            width: Candidates per query, 1 <= width <= n.

        Returns:
            Candidates, and which of them were found by bfloat16 products and proven, bool (n_queries,).
        """
        n = len(queries)
        found = Candidates(np.full((n, width), -1, dtype=np.int64), np.full((n, width), -np.inf, dtype=np.float32))
        left, proven = np.arange(n), np.zeros(n, dtype=np.bool_)
        steps: list[Callable[..., Any]] = [self._wide] if self.narrow is None else [self._narrow, self._wide]
        with whole_float32():
            for step in steps:
                open_ = []
                for low in range(0, len(left), _BLOCK):
                    rows = left[low : low + _BLOCK]
                    fine = self._write(found, rows, step(queries[rows], exclusions.of(rows), width))
                    open_.append(rows[~fine])
                    if step == self._narrow:
                        proven[rows[fine]] = True
                left = np.concatenate([*open_, np.empty(0, dtype=np.int64)])
        if len(left):
            again = search_torch(queries[left], self.unit, self.columns, exclusions.of(left), width)
            found.indices[left], found.similarities[left] = again.indices, again.similarities
        return found, proven

    def _write(
        self, found: Candidates, rows: NDArray[np.int64], best: "tuple[torch.Tensor, ...] | None"
    ) -> NDArray[np.bool_]:
        """Write places and scores of a block where they are sure, and return where."""
        if best is None:
            return np.zeros(len(rows), dtype=np.bool_)
        places, scores, sure = (part.cpu().numpy() for part in best)
        found.indices[rows[sure]] = self.columns[places[sure]]
        found.similarities[rows[sure]] = scores[sure]
        return np.asarray(sure, dtype=np.bool_)

    def _wide(
        self, queries: NDArray[np.float32], exclusions: ExclusionIndex, width: int
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None":
        """Places and scores of the best by float32 products, nearest first, and of which rows they are sure."""
        import torch

        asking = torch.from_numpy(queries).to(self.unit.device)
        listed = self._listed(asking, self.unit, exclusions, width)
        if listed is None:
            return None
        scores, at = torch.topk(listed.scores, width, dim=1)
        return torch.gather(listed.places, 1, at), scores, listed.fits & (scores[:, -1] > -torch.inf)

    def _narrow(
        self, queries: NDArray[np.float32], exclusions: ExclusionIndex, width: int
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None":
        """As `_wide`, by bfloat16 products; sure are those that are proven."""
        import torch

        coded = self.narrow
        assert coded is not None
        asking = torch.from_numpy(queries).to(self.unit.device)
        codes = asking.bfloat16()
        lost = torch.linalg.vector_norm((asking - codes.float()).double(), dim=1)
        norm = torch.linalg.vector_norm(codes.double(), dim=1)
        sums = 2.0**-23 * (asking.shape[1] + 4) * (norm * (coded.norm + coded.error) + 1)
        bound = norm * coded.error + lost * coded.norm + sums
        offset = asking.double() @ coded.mean.double()
        listed = self._listed(codes, coded.codes, exclusions, width, (1 + _OBSERVED) * bound)
        if listed is None:
            return None
        kept = min(width + _SPARE, listed.scores.shape[1] - 1)
        if kept < width:
            return None
        coarse, at = torch.topk(listed.scores, kept + 1, dim=1)
        cut = torch.maximum(coarse[:, -1], listed.threshold).double()
        coarse, places = coarse[:, :-1].double(), torch.gather(listed.places, 1, at[:, :-1])
        fine = torch.empty(coarse.shape, dtype=torch.float32, device=asking.device)
        step = max(1, _GATHERED // (kept * asking.shape[1]))
        for low in range(0, len(asking), step):
            near = self.unit[places[low : low + step]]
            fine[low : low + step] = torch.bmm(near, asking[low : low + step, :, None])[:, :, 0]
        there = coarse > -torch.inf
        # the bound is checked where both scores are known: a device that rounds otherwise proves nothing
        off = (fine.double() - offset[:, None] - coarse).abs() - coarse.abs() * _HALF_UNIT
        observed = torch.where(there, off, -torch.inf).amax(dim=1)
        scores, order = torch.topk(torch.where(there, fine, -torch.inf), width, dim=1)
        proven = scores[:, -1].double() - offset > cut + cut.abs() * _HALF_UNIT + bound
        return torch.gather(places, 1, order), scores, proven & (observed <= bound) & listed.fits

    def _listed(
        self,
        asking: "torch.Tensor",
        references: "torch.Tensor",
        exclusions: ExclusionIndex,
        width: int,
        margin: "torch.Tensor | None" = None,
    ) -> _Listed | None:
        """List what beats thresholds from a sample, lowered by a margin; None where a large part would be listed."""
        import torch

        n, n_rows, device = len(references), len(asking), asking.device
        n_sample = min(_SAMPLE, n // 8)
        rank = rank_of_threshold(width, n_sample, n) if n_sample else n
        if 2 * rank >= n_sample:
            return None
        codes = [torch.from_numpy(one).to(device)[:, None] for one in exclusions.query_codes]

        def may_meet(low: int, high: int, mask: "torch.Tensor") -> "torch.Tensor":
            for mine, theirs in zip(codes, self.excluded, strict=True):
                mask &= mine != theirs[low:high]
            return mask

        tile = asking @ references[:n_sample].T
        every = torch.ones(tile.shape, dtype=torch.bool, device=device)
        sampled = torch.where(may_meet(0, n_sample, every), tile, -torch.inf)
        last = torch.topk(sampled, rank, dim=1).values[:, -1].double()
        if margin is not None:
            last -= margin + 2 * _HALF_UNIT * last.abs()
        threshold = last.to(tile.dtype)
        capacity = min(n, 2 * -(-rank * n // n_sample) + 64)
        scores = torch.full((n_rows, capacity + 1), -torch.inf, dtype=tile.dtype, device=device)
        places = torch.zeros((n_rows, capacity + 1), dtype=torch.int64, device=device)
        filled = torch.zeros(n_rows, dtype=torch.int64, device=device)
        for low in range(0, n, _TILE):
            high = min(low + _TILE, n)
            tile = asking @ references[low:high].T
            mask = may_meet(low, high, tile > threshold[:, None])
            row, column = mask.nonzero(as_tuple=True)
            counts = mask.sum(dim=1)
            first = filled - (counts.cumsum(0) - counts)
            at = torch.arange(len(row), device=device) + first[row]
            at.clamp_(max=capacity)  # what does not fit is dropped in a place of its own
            scores[row, at], places[row, at] = tile[row, column], column + low
            filled += counts
        return _Listed(scores[:, :capacity], places[:, :capacity], filled <= capacity, threshold)
