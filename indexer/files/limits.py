"""Limits on what a file from outside may cost, checked before anything is allocated; the one place of them. Pure.

`LOCATLAS_LIMITS` changes them for a run, e.g. `LOCATLAS_LIMITS=pixels=2G,bytes=8G,decoder_bytes=32G`.
"""

import math
import os
import re
from dataclasses import dataclass, fields
from functools import lru_cache

from locatlas.errors import InputError

__all__ = ["VARIABLE", "Limits", "limits"]

VARIABLE = "LOCATLAS_LIMITS"

_NUMBER = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[KMGT]?)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one image, mask or vector file may cost.

    Attributes:
        pixels: Most pixels of one image, over all of its planes; a projected stack counts as its projection.
        bytes: Most decoded bytes of one image that are held at once.
        stack_bytes: Most decoded bytes of all slices of a stack; they are read slice by slice.
        ratio: Most decoded bytes a byte of the file, where more than `ratio_free_bytes` are decoded. A constant image
            compresses a thousandfold and is legal, so the ratio counts only where it could hurt: a TIFF of 1.1 MB was
            seen to expand to 900 MB.
        ratio_free_bytes: Decoded bytes up to which the ratio does not matter.
        counts_bytes: Most bytes that a deflated run-length encoding of a cell may expand to; real ones have some
            thousand.
        decoder_bytes: Most memory that a decoder may take for one image, beside its own code; libraries hold an image
            up to four times while they turn it round. Kept by the kernel, on Linux.
        decoder_seconds: Longest time that a decoder may take for one image.
    """

    pixels: int = 512 * 2**20
    bytes: int = 2 * 2**30
    stack_bytes: int = 16 * 2**30
    ratio: int = 200
    ratio_free_bytes: int = 256 * 2**20
    counts_bytes: int = 4 * 2**20
    decoder_bytes: int = 8 * 2**30
    decoder_seconds: int = 300


def limits() -> Limits:
    """The limits of this process: the defaults, changed by `LOCATLAS_LIMITS`.

    Raises:
        InputError: If the variable names an unknown limit or no positive number.
    """
    return _parsed(os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=16)
def _parsed(text: str) -> Limits:
    """Limits from "name=number,...", numbers with K, M, G or T for powers of 1024.

    >>> _parsed("pixels=1G, decoder_seconds=20").pixels
    1073741824
    """
    known = [field.name for field in fields(Limits)]
    given: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (word.strip() for word in part.partition("="))
        found = _NUMBER.fullmatch(value)
        if name not in known or found is None:
            message = f"{VARIABLE}: {part[:80]!r}; name=number needed, with one of {', '.join(known)}, e.g. pixels=1G"
            raise InputError(message)
        number = float(found["number"]) * _UNITS[found["unit"]]
        if not 1 <= number < 2**62:
            message = f"{VARIABLE}: {name} is {value[:40]}; a number from 1 on needed"
            raise InputError(message)
        given[name] = math.floor(number)
    return Limits(**given)
