"""What a file of tensors holds, checked before anybody uses it: nothing may be larger than the file it came from. Pure.

`torch.load(weights_only=True)` runs no code, but builds what a pickle says: a tensor of 10^12 numbers over four bytes,
a sparse or meta tensor without any, a list that holds itself, lists of lists that double at each level.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, strided

__all__ = ["problem_of_archive", "problem_of_tensors"]

MAX_DEPTH = 32
"""Deepest nesting; published checkpoints have four levels."""

SHARED_FOLD = 16
"""How often the file's bytes may be held at most, all tensors together: those that share memory count each time."""

SMALL_BYTES = 2**20
"""What is never too much, however small the file."""

_CONTAINERS = (Mapping, list, tuple, set)


def problem_of_archive(path: Path) -> str | None:
    """Why the entries of a zip file would be too large; None for others. `torch.save` does not compress."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    size = path.stat().st_size
    if unpacked > size + SMALL_BYTES:
        return f"unpacks to {unpacked} bytes from {size}; refused as a decompression bomb"
    return None


def problem_of_tensors(held: Any, file_bytes: int) -> str | None:
    """Why what was loaded must not be used; None if it may be.

    Args:
        held: Tensors, arrays and plain containers of them.
        file_bytes: Size of the file it came from.
    """
    most = max(file_bytes, SMALL_BYTES)
    total, items, seen, waiting = 0, 0, set[int](), [held]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            if value.layout != strided or value.device.type != "cpu" or value.is_quantized:
                return f"holds a {str(value.layout).removeprefix('torch.')} tensor on {value.device}; plain ones needed"
            found = value.numel() * value.element_size()
        elif isinstance(value, np.ndarray):
            found = value.nbytes
        else:
            if isinstance(value, _CONTAINERS) and id(value) not in seen:
                seen.add(id(value))
                items += len(value)
                waiting += _inner(value)
            continue
        total += found
        if found > most or total > SHARED_FOLD * most:
            return f"promises {max(found, total)} bytes of numbers in a file of {file_bytes} bytes"
    try:
        all_items = _count(held, 0, {})
    except _DeepError:
        return f"holds itself, or is nested deeper than {MAX_DEPTH} levels"
    if all_items > SHARED_FOLD * max(items, 1000):
        return f"holds the same containers again and again, {all_items} items in all"
    return None


def _inner(container: Any) -> list[Any]:
    return [*container.values()] if isinstance(container, Mapping) else [*container]


def _count(value: Any, depth: int, known: dict[int, int]) -> int:
    """Items of a container and of all within, each as often as it is met."""
    if not isinstance(value, _CONTAINERS):
        return 1
    if depth > MAX_DEPTH:
        raise _DeepError
    if id(value) not in known:
        known[id(value)] = 1 + sum(_count(one, depth + 1, known) for one in _inner(value))
    return known[id(value)]


class _DeepError(Exception):
    pass
