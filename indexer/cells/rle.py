"""Run-length encodings of masks as Kaggle has them, to regions and from there to the store. Pure."""

import base64
import binascii
import re
import zlib
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.limits import limits
from locatlas.indexer.files.planes import plural

__all__ = ["Runs", "decode_coco", "decode_runs", "mask_of", "split_prediction"]

Runs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""First pixels (from 0, column by column) and lengths of the runs of a mask."""


def decode_runs(text: str, *, n_pixels: int) -> Runs:
    """Kaggle's classic form: "start length start length ...", pixels counted from 1, down the columns.

    Args:
        text: The encoding; empty for no pixel.
        n_pixels: Of the image.

    Raises:
        ImageRejectedError: Saying what is wrong with it: no whole numbers, a number without its partner, a run before
            or behind the image, or runs that overlap or go backwards.
    """
    words = text.split()
    wrong = next((word for word in words if not re.fullmatch(r"[0-9]{1,12}", word)), None)
    if wrong is not None:
        _refuse(f"{wrong[:40]!r} is not a whole number; 'start length start length ...' is needed")
    if len(words) % 2:
        _refuse(f"{plural(len(words), 'number')}, so a start has no length")
    numbers = np.array(words, dtype=np.int64).reshape(-1, 2)
    starts, lengths = numbers[:, 0] - 1, numbers[:, 1]
    for position, (start, length) in enumerate(numbers.tolist(), start=1):
        if start < 1 or length < 1:
            _refuse(f"run {position} is {start} {length}; starts and lengths begin with 1")
        if start - 1 + length > n_pixels:
            _refuse(f"run {position} ends at pixel {start - 1 + length}, but the image has {n_pixels}")
    _check_order(starts, lengths)
    return starts, lengths


def decode_coco(text: str, *, n_pixels: int) -> Runs:
    """The form of Kaggle's 2021 single-cell competition: base64 of zlib of COCO's compressed counts.

    COCO's counts (cocodataset/cocoapi, common/maskApi.c: rleFrString) are lengths of background and foreground in turn,
    down the columns, background first. Each is written in groups of five bits, low ones first, as characters from
    "0" on; bit 32 says that more follow, bit 16 of the last is the sign. From the fourth count on it is the
    difference to the count before the last.

    Args:
        text: The encoding.
        n_pixels: Of the image.

    Raises:
        ImageRejectedError: Saying what is wrong with it.
    """
    counts = _coco_counts(_inflated(text))
    if (counts < 0).any():
        _refuse(f"run {int(np.argmax(counts < 0)) + 1} has the length {int(counts[counts < 0][0])}")
    if (total := int(counts.sum())) != n_pixels:
        _refuse(f"its runs cover {total} pixels, but the image has {n_pixels}")
    ends = np.cumsum(counts)
    starts, lengths = (ends - counts)[1::2], counts[1::2]
    return starts[lengths > 0], lengths[lengths > 0]


def _inflated(text: str) -> bytes:
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: not ASCII
        _refuse(f"not base64 ({error})")
    stream, most = zlib.decompressobj(), limits().counts_bytes
    try:
        counts = stream.decompress(packed, most)
    except zlib.error as error:
        _refuse(f"not deflated by zlib ({error})")
    if stream.unconsumed_tail:
        _refuse(f"expands to more than {most} bytes")
    if not stream.eof:
        _refuse("cut off: the deflated bytes have no end")
    return counts


def _coco_counts(text: bytes) -> NDArray[np.int64]:
    counts: list[int] = []
    value = shift = 0
    for place, byte in enumerate(text):
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 40:
            _refuse(f"byte {place} ({byte}) belongs to no COCO encoding")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        _refuse("cut off in the middle of a number")
    longest = limits().pixels
    if any(abs(count) > longest for count in counts):
        _refuse("has runs longer than any image")
    return np.array(counts, dtype=np.int64)


def _check_order(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    back = np.flatnonzero(starts[1:] < starts[:-1] + lengths[:-1])
    if len(back):
        _refuse(f"run {int(back[0]) + 2} begins before run {int(back[0]) + 1} has ended")


def mask_of(runs: Runs, *, height: int, width: int) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]]:
    """Box (top, left, bottom, right) of the runs, and the mask over it.

    Only the columns that are hit are filled in, so that a cell costs its own size and not that of the field.

    Args:
        runs: At least one, within the image.
        height: Of the image.
        width: Of the image.
    """
    starts, lengths = runs
    left, right = int(starts[0]) // height, int(starts[-1] + lengths[-1] - 1) // height + 1
    assert right <= width
    edges = np.zeros((right - left) * height + 1, dtype=np.int8)
    np.add.at(edges, starts - left * height, 1)
    np.add.at(edges, starts + lengths - left * height, -1)
    columns = np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_).reshape(right - left, height)
    rows = np.flatnonzero(columns.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return (top, left, bottom, right), np.ascontiguousarray(columns[:, top:bottom].T)


def split_prediction(text: str) -> list[str]:
    """The encodings of a PredictionString, "class confidence encoding ...", each once and in order.

    A cell of several classes is named once for each; its encoding is what tells that it is one cell.

    Raises:
        ImageRejectedError: If it does not come in threes, or a class or confidence is no number.
    """
    words = text.split()
    if len(words) % 3:
        _refuse(f"{plural(len(words), 'word')}; it must come in threes: class, confidence, encoding")
    for label, confidence in zip(words[0::3], words[1::3], strict=True):
        if not re.fullmatch(r"-?[0-9]{1,3}", label):
            _refuse(f"class {label[:40]!r} is not a whole number")
        if not re.fullmatch(r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?", confidence):
            _refuse(f"confidence {confidence[:40]!r} is not a number")
    return list(dict.fromkeys(words[2::3]))


def _refuse(reason: str) -> NoReturn:
    raise ImageRejectedError(reason)
