"""Integer pixels to scaled planes of the network's size, with a single float copy of the whole field. Pure.

Scaling is linear up to its clipping, and so is resizing: what is scaled after the resize, on a tenth of the pixels,
gives the numbers of `transforms.scale_intensity` before it, up to rounding (the test compares them). The float copy
lies in a buffer that each thread keeps: memory that is touched for the first time costs more than the arithmetic.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.models.spec import EncoderSpec

__all__ = ["FLAT", "Line", "float_planes", "percentiles", "scale_line", "scaled", "standardized"]

KEPT_BYTES = 64 * 2**20
"""Largest buffer that a thread keeps."""

FLAT = 1e-6
"""A plane whose values differ relatively by less is flat: resizing a constant leaves rounding, not to be blown up."""

EPS = 1e-7  # DINO4Cells_code, self_normalize; a flat channel becomes 0 / 1e-7 = 0

_held = threading.local()


class Line:
    """How channels become numbers: (x - low) / (high - low), 0 where both are equal.

    Attributes:
        low: Float64, one a channel.
        high: Float64, one a channel.
        clips: Whether values lie outside and are cut off at 0 and 1.
    """

    def __init__(self, low: NDArray[np.float64], high: NDArray[np.float64], *, clips: bool) -> None:
        self.low, self.high, self.clips = low, high, clips


def scale_line(pixels: NDArray[np.unsignedinteger[Any]], spec: EncoderSpec) -> Line:
    """The line by which `spec.intensity` scales integer pixels (`standardize`: to the unit range only).

    Args:
        pixels: (channels, height, width), uint8 or uint16; not changed.
        spec: Gives `intensity` and `percentiles`.
    """
    n = len(pixels)
    if spec.intensity in ("unit", "standardize"):
        return Line(np.zeros(n), np.full(n, float(np.iinfo(pixels.dtype).max)), clips=False)
    flat = pixels.reshape(n, -1)
    low, high = flat.min(axis=1).astype(np.float64), flat.max(axis=1).astype(np.float64)
    if spec.intensity == "minmax_joint":
        return Line(np.full(n, low.min()), np.full(n, high.max()), clips=False)
    if spec.intensity == "minmax":
        return Line(low, high, clips=False)
    for i, plane in enumerate(flat):
        p_low, p_high = percentiles(plane, spec.percentiles)
        if p_low < p_high:
            low[i], high[i] = p_low, p_high
    return Line(low, high, clips=True)


def percentiles(values: NDArray[np.unsignedinteger[Any]], wanted: tuple[float, float]) -> tuple[float, float]:
    """Two of numpy's percentiles (linear), in a fraction of its time where they lie near the ends.

    Args:
        values: 1-d, uint8 or uint16, not empty; not changed.
        wanted: In [0, 100].
    """
    found = []
    for q in wanted:
        place = (values.size - 1) * (q / 100)
        rank = int(place)
        below, above = _ranked(values, rank)
        share, width = place - rank, float(above) - float(below)
        # from the nearer end, as numpy does
        found.append(float(above) - width * (1 - share) if share >= 0.5 else float(below) + width * share)
    return found[0], found[1]


def _ranked(values: NDArray[np.unsignedinteger[Any]], rank: int) -> tuple[int, int]:
    """The value of a rank from 0 in the sorted order, and the next."""
    size = values.size
    if size == 1 or rank == size - 1:
        return int(values.max()), int(values.max())
    if rank >= 0.9 * size and size >= 4096:
        # every 16th pixel tells a value that surely lies below; only what is above it has to be sorted
        sample = np.sort(values[::16])
        bright = values[values >= sample[int(len(sample) * (rank / size - 0.01))]]
        if (left_out := size - bright.size) <= rank:
            values, rank = bright, rank - left_out
    both = np.partition(values, (rank, rank + 1))
    return int(both[rank]), int(both[rank + 1])


def float_planes(pixels: NDArray[np.unsignedinteger[Any]], line: Line) -> tuple[NDArray[np.float32], Line]:
    """The pixels as float32, clipped where the line clips, and the line that scales them, or a resize of them.

    Args:
        pixels: (channels, height, width), uint8 or uint16; not changed.
        line: From `scale_line`.

    Returns:
        An array of the same shape that the thread's next call overwrites. Whole numbers are taken off a channel first,
        exactly, so that a narrow range far from zero keeps its digits.
    """
    planes = _buffer(pixels.shape)
    np.copyto(planes, pixels)
    base = np.floor(line.low)
    left = Line(line.low - base, line.high - base, clips=False)
    for plane, whole, low, high in zip(planes, base, left.low, left.high, strict=True):
        if whole:
            plane -= np.float32(whole)
        if line.clips:
            np.clip(plane, np.float32(low), np.float32(high), out=plane)
    return planes, left


def scaled(planes: NDArray[np.float32], line: Line) -> NDArray[np.float32]:
    """(x - low) / (high - low) as a new array; zero where both are equal."""
    width = line.high - line.low
    out = planes - line.low.astype(np.float32)[:, None, None]
    out /= np.where(width > 0, width, 1).astype(np.float32)[:, None, None]
    out[width <= 0] = 0
    return out


def _buffer(shape: tuple[int, ...]) -> NDArray[np.float32]:
    size = int(np.prod(shape))
    held: NDArray[np.float32] | None = getattr(_held, "buffer", None)
    if held is None or held.size < size:
        held = np.empty(size, np.float32)
        if held.nbytes <= KEPT_BYTES:
            _held.buffer = held
    return held[:size].reshape(shape)


def standardized(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """What `transforms.standardize` gives, for planes on the CPU, where numpy takes a fifth of torch's time.

    Args:
        planes: (channels, h, w), float32; not changed.
    """
    wide = planes.astype(np.float64)
    wide -= wide.mean(axis=(1, 2), keepdims=True)
    wide /= np.sqrt(np.square(wide).mean(axis=(1, 2), keepdims=True)) + EPS
    low, high = planes.min(axis=(1, 2)), planes.max(axis=(1, 2))
    with np.errstate(over="ignore"):  # what overflows is refused by `network_input`
        wide[high - low <= FLAT * np.maximum(np.abs(high), np.abs(low))] = 0
        return wide.astype(np.float32)
