"""Exact nearest neighbors by float32 products, of `tiles` or of a torch device, for one set of queries after another.

References that are not read in place are laid out once, when the first queries need it: normalised, put into a random
order, moved to the device. All further queries are searched in that layout. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from locatlas.query.exclude import Exclusion, ExclusionIndex
from locatlas.query.refine import EXTRA_CANDIDATES, refine
from locatlas.query.tiles import Candidates, few_queries, search_tiles
from locatlas.query.unit import Prepared
from locatlas.types import Neighbors

if TYPE_CHECKING:
    import torch

__all__ = ["Wide"]


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """References as products of many queries read them.

    Attributes:
        columns: Which these are, in random order, int64 (n_valid,).
        exclusions: Of all queries, built for these columns.
        unit: Their unit vectors: in memory, or on the device.
    """

    columns: NDArray[np.int64]
    exclusions: ExclusionIndex
    unit: "Prepared | torch.Tensor"


@dataclass(frozen=True, eq=False)
class Wide:
    """A search by float32 products.

    Attributes:
        asked: All queries.
        searched: All references.
        valid: References that may be found, bool (n_references,).
        exclude: Pairs of codes, as `exact.search` takes them.
        everywhere: The same, built for all queries and for all references in order.
        device: "cpu", or a torch device.
    """

    asked: Prepared
    searched: Prepared
    valid: NDArray[np.bool_]
    exclude: Sequence[Exclusion]
    everywhere: ExclusionIndex
    device: str

    def search(self, rows: NDArray[np.int64], places: NDArray[np.int64], found: Neighbors) -> None:
        """Write the neighbors of the queries `rows`, all of norm > 0, into `places` of `found`.

        Raises:
            InputError: If the device cannot be used here.
        """
        asked = self.asked.take(rows)
        ranked = refine(
            self._candidates(asked.unit(slice(None)), rows, min(found.k + EXTRA_CANDIDATES, self._n_valid)),
            asked,
            self.searched,
            k=found.k,
            exclusions=self.everywhere.of(rows),
            valid=self.valid,
        )
        found.indices[places] = ranked.indices
        found.similarities[places] = ranked.similarities

    def _candidates(self, unit: NDArray[np.float32], rows: NDArray[np.int64], width: int) -> Candidates:
        """The `width` best by float32 similarity."""
        if self.device == "cpu" and few_queries(len(rows)) and 2 * self._n_valid >= len(self.searched):
            return search_tiles(unit, self.searched, None, ~self.valid, self.everywhere.of(rows), width=width)
        columns, exclusions = self._layout.columns, self._layout.exclusions.of(rows)
        if isinstance(self._layout.unit, Prepared):
            return search_tiles(unit, self._layout.unit, columns, None, exclusions, width=width)
        from locatlas.query.tiles_torch import search_torch

        return search_torch(unit, self._layout.unit, columns, exclusions, width)

    @cached_property
    def _n_valid(self) -> int:
        return int(np.count_nonzero(self.valid))

    @cached_property
    def _layout(self) -> _Layout:
        # any fixed order that has nothing to do with the rows' own; the result does not depend on it
        columns = np.random.default_rng(0).permutation(np.flatnonzero(self.valid))
        exclusions = ExclusionIndex.build(
            self.exclude, n_queries=len(self.asked), n_references=len(self.searched), columns=columns
        )
        unit = self.searched.unit(columns)
        if self.device == "cpu":
            return _Layout(columns, exclusions, Prepared(unit, self.searched.lengths[columns]))
        from locatlas.query.tiles_torch import on_device

        return _Layout(columns, exclusions, on_device(unit, self.device))
