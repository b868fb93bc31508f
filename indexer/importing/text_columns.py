"""Columns of any kind as text, as files of vectors have them. Pure."""

import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.store.aligned import one_array

__all__ = ["text_of", "texts"]

SEPARATOR = ";"
"""Between the items of a list."""

_ROWS_AT_ONCE = 65_536


def text_of(value: Any) -> str | None:
    """One value as text in NFC; None where it says nothing. Lists are joined.

    Raises:
        UnicodeDecodeError: If bytes are no UTF-8.
    """
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bytes):
        return unicodedata.normalize("NFC", value.decode("utf-8", errors="strict"))
    if isinstance(value, list | tuple | np.ndarray):
        return unicodedata.normalize("NFC", SEPARATOR.join(str(v) for v in value))
    return str(value)


def texts(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """`text_of` of each value; text, whole numbers and lists of text without a loop over the rows.

    Raises:
        ValueError: If text or bytes are no UTF-8.
        pyarrow.ArrowException: If the column is damaged.
    """
    array = one_array(column)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return texts(array.dictionary_decode())
    if pa.types.is_integer(kind):
        return array.cast(pa.string())
    if _is_text(kind):
        array.validate(full=True)
        return pc.utf8_normalize(array.cast(pa.string()), form="NFC")
    # `binary_join` has no text for an item that is null; text_of has
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type):
        array.validate(full=True)
        if not array.flatten().null_count:
            return pc.utf8_normalize(pc.binary_join(array, SEPARATOR).cast(pa.string()), form="NFC")
    parts = (array[low : low + _ROWS_AT_ONCE].to_pylist() for low in range(0, len(array), _ROWS_AT_ONCE))
    return pa.array([text_of(value) for part in parts for value in part], pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
