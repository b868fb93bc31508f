"""Smooth random textures, made once per process and reused in random pieces. Pure."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCALES_PX", "texture"]

SCALES_PX: tuple[float, ...] = (0.9, 1.6, 2.8, 5.0, 9.0, 18.0, 40.0)
"""SDs of the Gaussian kernels, in pixels; a request is served by the nearest on a log scale."""

_SIZE = 1024  # px; periodic, so pieces may wrap around
_SEED = 7919  # of the textures themselves: which piece is taken depends on the caller's generator


@cache
def _bank() -> tuple[NDArray[np.float32], ...]:
    """One (1024, 1024) field per scale, mean 0, SD 1, periodic."""
    rng = np.random.default_rng(_SEED)
    frequency_y = np.fft.fftfreq(_SIZE).astype(np.float32)[:, None]
    frequency_x = np.fft.rfftfreq(_SIZE).astype(np.float32)[None, :]
    squared = frequency_y**2 + frequency_x**2
    fields = []
    for scale in SCALES_PX:
        spectrum = np.fft.rfft2(rng.standard_normal((_SIZE, _SIZE), dtype=np.float32))
        field = np.fft.irfft2(spectrum * np.exp(-2 * np.pi**2 * scale**2 * squared), s=(_SIZE, _SIZE))
        field -= field.mean()
        field = (field / field.std()).astype(np.float32)
        field.flags.writeable = False
        fields.append(field)
    return tuple(fields)


def texture(shape: tuple[int, int], scale_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Take a random piece of Gaussian noise smoothed at about `scale_px`.

    Args:
        shape: (height, width) of the piece.
        scale_px: SD of the smoothing kernel in pixels; the nearest of `SCALES_PX` is used.
        rng: Chooses the place and the mirroring.

    Returns:
        float32, mean about 0 and SD about 1 over a large piece; a read-only view, as the texture is shared.
    """
    nearest = int(np.argmin(np.abs(np.log(np.array(SCALES_PX)) - np.log(scale_px))))
    field = _bank()[nearest]
    if max(shape) > _SIZE:  # periodic, so it may be repeated
        field = np.tile(field, (-(-shape[0] // _SIZE), -(-shape[1] // _SIZE)))
    top, left = (
        int(value) for value in rng.integers(0, [field.shape[0] - shape[0] + 1, field.shape[1] - shape[1] + 1])
    )
    down, across = (int(value) for value in rng.choice([-1, 1], 2))
    return field[top : top + shape[0], left : left + shape[1]][::down, ::across]
