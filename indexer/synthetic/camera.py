"""From light to pixels: blur, haze, background, vignetting, shot and read noise, digitisation. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.indexer.synthetic.looks import Look
from locatlas.indexer.synthetic.noise import texture
from locatlas.indexer.synthetic.strokes import blur

__all__ = ["Optics", "expose_counts", "expose_display", "make_optics"]

Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Optics:
    """The optics of one field of view, the same for all its channels.

    Attributes:
        sigma_px: SD of the in-focus blur.
        haze_share: Part of the light that is out of focus, in [0, 1].
        haze_px: SD of the blur of that part.
        vignetting: (h, w) float32, transmission in [0, 1].
    """

    sigma_px: float
    haze_share: float
    haze_px: float
    vignetting: Field

    def image(self, light: Field) -> Field:
        """What reaches the camera: in-focus light, plus its share of haze, dimmer toward the corners."""
        sharp = blur(light, self.sigma_px)
        share = np.float32(self.haze_share)
        return np.asarray(((1 - share) * sharp + share * _wide_blur(light, self.haze_px)) * self.vignetting)


def make_optics(shape: tuple[int, int], look: Look, rng: np.random.Generator) -> Optics:
    """Draw the optics of one field of view of `shape` (height, width)."""
    return Optics(
        sigma_px=rng.uniform(*look.psf_um) / look.pixel_um,
        haze_share=float(rng.uniform(*look.haze)),
        haze_px=3.2 / look.pixel_um,
        vignetting=_vignetting(shape, rng),
    )


def _vignetting(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    y = (np.arange(shape[0], dtype=np.float32) / shape[0] - np.float32(rng.uniform(0.42, 0.58)))[:, None]
    x = (np.arange(shape[1], dtype=np.float32) / shape[1] - np.float32(rng.uniform(0.42, 0.58)))[None]
    return np.asarray(1 - np.float32(rng.uniform(0.1, 0.45)) * (y**2 + x**2), dtype=np.float32)


def _wide_blur(light: Field, sigma_px: float) -> Field:
    """Gaussian blur at a quarter of the resolution: it carries no fine detail."""
    factor = 4
    height, width = light.shape
    padded = np.pad(light, ((0, -height % factor), (0, -width % factor)), mode="edge")
    coarse = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor).mean(axis=(1, 3))
    smooth = ndimage.gaussian_filter(coarse, sigma_px / factor, truncate=3.0, mode="nearest")
    fine = np.repeat(np.repeat(smooth, factor, axis=0), factor, axis=1)[:height, :width]
    return np.asarray(ndimage.uniform_filter(fine, factor + 1), dtype=np.float32)


def expose_counts(
    photons: Field, *, offset: float, gain: float, read_sd: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Digitise as a 16-bit camera does.

    Shot noise is normal with the Poisson variance: with a background of tens of photons the difference cannot be seen,
    and it is five times faster.

    Args:
        photons: Expected photons per pixel, background included.
        offset: Counts without light.
        gain: Counts per photon.
        read_sd: SD of the read noise in counts.
        rng: Source of randomness.
    """
    noise = rng.standard_normal(photons.shape, dtype=np.float32)
    sd = np.sqrt(np.float32(gain * gain) * photons + np.float32(read_sd**2))
    counts = np.float32(offset) + np.float32(gain) * photons + sd * noise
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def expose_display(
    light: Field, *, photons: float, floor: float, white: float, pixel_um: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Digitise as HPA's 8-bit pictures: stretched so that the brightest part is white and the background near black.

    Immunostaining is granular, which multiplicative fine noise imitates.

    Args:
        light: Relative light, mean near 1 in cells.
        photons: Photons per unit of light.
        floor: Background in units of light; most of it is cut off by the stretch.
        white: Quantile of the light that becomes white.
        pixel_um: Edge of a pixel in micrometres.
        rng: Source of randomness.
    """
    grains = np.exp(np.float32(0.16) * texture((light.shape[0], light.shape[1]), 0.3 / pixel_um, rng))
    expected = (light * grains + np.float32(floor)) * np.float32(photons)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    seen = expected + np.sqrt(expected + np.float32(4.0)) * noise
    black = np.float32(floor * photons * 1.1)
    top = max(float(np.quantile(expected[::2, ::2], white)), float(black) + 1.0)
    return np.clip(np.rint((seen - black) * np.float32(255.0 / (top - float(black)))), 0, 255).astype(np.uint8)
