"""Numbers between numpy and Arrow without a copy, and without what `pyarrow.array` imports on its first call. Pure.

pyarrow imports pandas, where it is installed, as soon as it is given anything from Python to look at (`pa.array`,
`pa.scalar`, `to_numpy`): half a second, which a look-up in a process of its own need not take.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.indexer.store.aligned import one_array

__all__ = ["as_arrow", "as_numpy"]

_TYPES = {"i4": pa.int32(), "i8": pa.int64(), "f4": pa.float32(), "f8": pa.float64()}


def as_arrow(numbers: NDArray[Any]) -> pa.Array:
    """An Arrow array over the same memory.

    Args:
        numbers: (n,) int32, int64, float32 or float64.

    Raises:
        KeyError: If they are of another type.
    """
    whole = np.ascontiguousarray(numbers)
    return pa.Array.from_buffers(_TYPES[whole.dtype.str.lstrip("<")], len(whole), [None, pa.py_buffer(whole)])


def as_numpy(numbers: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """A numpy array over the memory of an Arrow array (copied only where that is in several pieces).

    Args:
        numbers: (n,) integers or floats without nulls.

    Raises:
        pyarrow.ArrowTypeError: If they are none.
    """
    return np.from_dlpack(one_array(numbers))
