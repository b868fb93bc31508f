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

from locatlas.query.search.exclude import Exclusion, ExclusionIndex
from locatlas.query.search.refine import EXTRA_CANDIDATES, refine
from locatlas.query.search.tiles import Candidates, few_queries, search_tiles
from locatlas.query.search.unit import Prepared
from locatlas.types import Neighbors

if TYPE_CHECKING:
    from locatlas.query.search.on_device import OnDevice

__all__ = ["Wide"]


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """References as products of many queries read them.

    Attributes:
        columns: Which these are, in random order, int64 (n_valid,).
        exclusions: Of all queries, built for these columns.
        unit: Their unit vectors: in memory, or on the device, there in bfloat16, too, where that is faster.
    """

    columns: NDArray[np.int64]
    exclusions: ExclusionIndex
    unit: "Prepared | OnDevice"


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

    def candidates(self, rows: NDArray[np.int64], k: int) -> tuple[Candidates, int]:
        """What may be among the `k` nearest of the queries `rows`, all of norm > 0.

        Returns:
            Candidates, and for how many queries a device found them by bfloat16 products, and proved it.

        Raises:
            InputError: If the device cannot be used here.
        """
        return self._candidates(self.asked.take(rows).unit(slice(None)), rows, min(k + EXTRA_CANDIDATES, self._n_valid))

    def ranked(self, rows: NDArray[np.int64], candidates: Candidates, k: int) -> Neighbors:
        """The `k` nearest of the queries `rows`, from their candidates."""
        return refine(
            candidates,
            self.asked.take(rows),
            self.searched,
            k=k,
            exclusions=self.everywhere.of(rows),
            valid=self.valid,
        )

    def _candidates(self, unit: NDArray[np.float32], rows: NDArray[np.int64], width: int) -> tuple[Candidates, int]:
        if self.device == "cpu" and few_queries(len(rows)) and 2 * self._n_valid >= len(self.searched):
            return search_tiles(unit, self.searched, None, ~self.valid, self.everywhere.of(rows), width=width), 0
        columns, exclusions = self._layout.columns, self._layout.exclusions.of(rows)
        if isinstance(self._layout.unit, Prepared):
            return search_tiles(unit, self._layout.unit, columns, None, exclusions, width=width), 0
        found, proven = self._layout.unit.search(unit, exclusions, width)
        return found, int(proven.sum())

    @property
    def narrow_on_device(self) -> bool:
        """Whether bfloat16 products are tried first, on a device."""
        return self.device != "cpu" and getattr(self._layout.unit, "narrow", None) is not None

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
        from locatlas.query.search.on_device import OnDevice

        return _Layout(columns, exclusions, OnDevice.of(unit, columns, exclusions, self.device))
