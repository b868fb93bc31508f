"""Ids of one column as rows of another. Pure."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["is_ascending", "one_array", "rows_in"]


def one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column in one piece; copied only where it is in several."""
    if isinstance(column, pa.ChunkedArray):
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column


def rows_in(names: pa.Array | pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Row of `among` at which each name stands, int64 (n,); -1 where it does not.

    Args:
        names: Text (n,).
        among: Distinct text (m,).
    """
    names, among = one_array(names), one_array(among)
    if names.equals(among):
        return np.arange(len(names), dtype=np.int64)
    found: Any = pc.fill_null(pc.index_in(names, value_set=among), -1)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def is_ascending(names: pa.Array | pa.ChunkedArray) -> bool:
    """Whether text is sorted already, by code point."""
    names = one_array(names)
    return len(names) < 2 or bool(pc.all(pc.less_equal(names[:-1], names[1:])).as_py())
