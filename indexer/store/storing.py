"""Vectors as a table stores them: in float32, or rounded to float16 where that was asked for. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.models.spec import Storage

__all__ = ["as_stored"]

_MOST_CHANGE = 2.0**-10
"""Of a vector, relative to its length. Rounding to float16 changes each number by at most 2^-11 of itself, as long as
it is not below 2^-14, where float16 runs out of digits."""


def as_stored(
    vectors: NDArray[np.float32], storage: Storage, ids: Sequence[str], table: str
) -> NDArray[np.float32] | NDArray[np.float16]:
    """The vectors in the numbers of their table.

    Args:
        vectors: (n, d) float32, finite.
        storage: "float32" leaves them; "float16" rounds to the nearest.
        ids: (n,) of the vectors, for the message.
        table: Its name, for the message.

    Raises:
        InputError: If float16 would change a vector by more than rounding does: numbers above 65,504, or a vector of
            numbers so small that few digits are left.
    """
    if storage == "float32":
        return vectors
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused
        rounded = vectors.astype(np.float16)
    wide, found = vectors.astype(np.float64), rounded.astype(np.float64)
    # written so that infinity and NaN are refused
    kept = np.linalg.norm(found - wide, axis=1) <= _MOST_CHANGE * np.linalg.norm(wide, axis=1)
    if not kept.all():
        row = int(np.argmin(kept))
        most = float(np.abs(vectors[row]).max())
        message = (
            f"table {table}: the vector of {ids[row]!r} (largest number {most:.3g}) is not finite or does not fit "
            "float16; nothing of this commit was written. Store these vectors as float32"
        )
        raise InputError(message)
    return rounded
