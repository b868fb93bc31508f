"""Vectors of a file with what it says of each, some thousand at a time; the checks that they pass first. Pure."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import InputError

__all__ = ["VectorRows", "check_rows_of_file", "in_blocks"]

CHECKED_AT_ONCE = 8192


@dataclass(frozen=True, slots=True, eq=False)
class VectorRows:
    """Vectors with what the file says of each.

    Attributes:
        names: Ids, text (n,), in the order of the file, NFC-normalised.
        shape: Of the vectors, as the file says: (n, d), or another one, which `check_rows_of_file` refuses.
        columns: Metadata, text (n,) each, null where unknown.
        blocks: Gives the vectors in the order of the file, float32, as many rows at a time as it is told; the last may
            be fewer. May be called again.
    """

    names: pa.Array
    shape: tuple[int, ...]
    columns: dict[str, pa.Array]
    blocks: Callable[[int], Iterator[NDArray[np.float32]]]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return self.shape[1]

    @property
    def ids(self) -> list[str]:
        """`names` as Python strings."""
        return list(self.names.to_pylist())

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors at once, (n, d)."""
        return np.concatenate(list(self.blocks(CHECKED_AT_ONCE)))


def in_blocks(parts: Iterator[NDArray[np.float32]], rows: int) -> Iterator[NDArray[np.float32]]:
    """Arrays of any number of rows as blocks of that many; the last may be smaller.

    Args:
        parts: float32 (m, d), d the same for all.
        rows: >= 1.
    """
    held: list[NDArray[np.float32]] = []
    n = 0
    for part in parts:
        at = 0
        while at < len(part):
            some = part[at : at + rows - n]
            held.append(some)
            at, n = at + len(some), n + len(some)
            if n == rows:
                yield held[0] if len(held) == 1 else np.concatenate(held)
                held, n = [], 0
    if held:
        yield held[0] if len(held) == 1 else np.concatenate(held)


def check_rows_of_file(path: Path, found: VectorRows) -> None:
    """Refuse a file whose ids, vectors and columns do not fit each other.

    Raises:
        InputError: Saying why, in one line.
    """
    names, n = found.names, len(found)
    why = None
    if len(found.shape) != 2 or found.shape[0] != n or not n or not found.shape[1]:
        why = f"{n} ids and vectors of shape {found.shape}: one row of numbers an id needed"
    elif why := _not_finite(found):
        pass
    elif pc.count_distinct(names).as_py() != n:
        seen: set[str] = set()
        twice = next(i for i in found.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        why = f"id {twice!r} occurs twice"
    elif (row := pc.index(names, pa.scalar("")).as_py()) >= 0:
        why = f"the id of row {row} is empty"
    elif bad := next((i for i in _with_controls(names) if any(unicodedata.category(c) == "Cc" for c in i)), None):
        why = f"id {bad!r} has control characters"
    else:
        why = next(
            (f"column {name}: {len(v)} values for {n} ids" for name, v in found.columns.items() if len(v) != n), None
        )
    if why:
        message = f"{path}: {why}"
        raise InputError(message)


def _not_finite(found: VectorRows) -> str | None:
    first, n_bad, done = -1, 0, 0
    for block in found.blocks(CHECKED_AT_ONCE):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            first = done + int(np.argmin(finite)) if first < 0 else first
            n_bad += int(np.count_nonzero(~finite))
        done += len(block)
    if done != len(found):
        return f"{len(found)} ids and {done} vectors: one row of numbers an id needed"
    return f"vector of {found.names[first].as_py()!r} is not finite ({n_bad} such)" if n_bad else None


def _with_controls(names: pa.Array) -> list[str]:
    return list(pc.filter(names, pc.match_substring_regex(names, r"\p{Cc}")).to_pylist())
