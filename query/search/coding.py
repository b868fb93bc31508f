"""The names of a group as integers: two rows are of one group where their codes are equal. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.indexer.store.aligned import is_ascending, one_array

__all__ = ["Coding"]

_SOUGHT_ONE_BY_ONE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Coding:
    """A column of names, coded.

    Attributes:
        known: The distinct names, ascending; a name's place is its code.
        of_row: Code of each row, int64 (n,); -1 where there is no name.
    """

    known: pa.Array
    of_row: NDArray[np.int64]

    @classmethod
    def of(cls, names: pa.Array | pa.ChunkedArray) -> "Coding":
        """Code a column of text, or of nulls; an empty text is no name."""
        names = one_array(names).cast(pa.string())
        names = pc.if_else(pc.equal(names, ""), None, names) if pc.any(pc.equal(names, "")).as_py() else names
        if not names.null_count and is_ascending(names) and len(pc.unique(names)) == len(names):
            return cls(names, np.arange(len(names), dtype=np.int64))  # as ids are
        coded = names.dictionary_encode()
        order = pc.sort_indices(coded.dictionary).to_numpy()
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        place: Any = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
        of_row = np.where(place >= 0, np.append(rank, -1)[place], -1)
        return cls(coded.dictionary.take(pa.array(order)), of_row.astype(np.int64, copy=False))

    def __len__(self) -> int:
        """Number of distinct names."""
        return len(self.known)

    def code(self, name: str | None) -> int:
        """Code of a name; -1 where no row has it, and for None."""
        if name is None:
            return -1
        low, high = 0, len(self.known)
        while low < high:
            middle = (low + high) // 2
            if self.known[middle].as_py() < name:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self.known) and self.known[low].as_py() == name else -1

    def codes(self, names: Sequence[str | None]) -> NDArray[np.int64]:
        """Codes of names, int64; -1 where no row has it, and for None."""
        if len(names) <= _SOUGHT_ONE_BY_ONE:
            return np.array([self.code(name) for name in names], dtype=np.int64)
        found: Any = pc.index_in(pa.array(names, pa.string()), value_set=self.known)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
