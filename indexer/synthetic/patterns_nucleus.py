"""Patterns in the nucleus. Pure.

Every function returns light per pixel: float32 (h, w), not negative, not normalised.
"""

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.synthetic.noise import texture
from locatlas.indexer.synthetic.scene import Scene
from locatlas.indexer.synthetic.strokes import blur, sample, splat, spots
from locatlas.indexer.synthetic.traits import Traits, between

__all__ = ["chromatin", "nuclear_membrane", "nuclear_punctae", "nucleolus_fc_dfc", "nucleolus_gc", "nucleoplasm"]

Field = NDArray[np.float32]


def dna(scene: Scene, rng: np.random.Generator, contrast: float) -> Field:
    """Chromatin: blotchy, denser at the envelope and around nucleoli, thin within them; even in mitotic cells."""
    fine = texture(scene.shape, scene.px(0.3), rng)
    coarse = texture(scene.shape, scene.px(1.0), rng)
    blotches = np.exp(np.float32(contrast) * (np.float32(0.95) * fine + np.float32(0.4) * coarse))
    rim = 1 + np.float32(0.5 * contrast / 0.4) * np.exp(-(((scene.depth_um - 0.35) / 0.4) ** 2))
    interphase = blotches * rim * (1 - np.float32(0.72) * scene.nucleolar)
    plate = np.float32(1.9) + np.float32(0.15) * fine
    return np.asarray(scene.nucleus * np.where(scene.per_cell(scene.mitotic), plate, interphase), dtype=np.float32)


def nucleoplasm(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Even or finely grained, nucleoli more or less spared."""
    grain = texture(scene.shape, scene.px(between(0.25, 0.6, traits.size)), rng)
    coarse = texture(scene.shape, scene.px(1.4), rng)
    spared = np.float32(between(0.2, 0.85, traits.kind))
    amplitude = np.float32(between(0.04, 0.26, traits.contrast))
    body = np.exp(amplitude * (grain + np.float32(0.5) * coarse)) * (1 - spared * scene.nucleolar)
    return np.asarray(scene.nucleus * body, dtype=np.float32)


def chromatin(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """DNA-bound, or (kind > 0.6) speckles: 20 to 40 irregular clouds between the chromatin."""
    bound = dna(scene, rng, between(0.24, 0.58, traits.contrast))
    if traits.kind <= 0.6:
        return bound
    clouds = texture(scene.shape, scene.px(between(0.45, 0.75, traits.size)), rng)
    level = np.float32(between(1.15, 0.65, traits.count))
    clouds = np.maximum((clouds - level) * np.float32(1.5), 0) * (1 - scene.nucleolar)
    nucleoplasmic = np.float32(between(0.35, 0.10, traits.contrast)) * (1 - np.float32(0.6) * scene.nucleolar)
    inner = np.clip(scene.depth_um / 0.8, 0, 1)
    return np.asarray(scene.nucleus * (clouds * inner + nucleoplasmic), dtype=np.float32)


def nuclear_punctae(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """A few to several dozen round bodies, outside the nucleoli."""
    weight = np.clip(scene.depth_um / 1.0, 0, 1) * scene.nucleus * (1 - np.float32(0.9) * scene.nucleolar)
    counts = rng.poisson(between(4, 34, traits.count**1.5), scene.n_cells + 1)
    points, owners = sample(scene, weight, counts, rng)
    sigma = scene.px(between(0.17, 0.42, traits.size))
    return spots(scene, points, owners, sigma_px=sigma, spread=between(0.2, 0.7, traits.contrast), rng=rng)


def nucleolus_gc(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Whole nucleoli; some proteins as a shell (kind > 0.75)."""
    grain = np.exp(np.float32(between(0.05, 0.2, traits.contrast)) * texture(scene.shape, scene.px(0.4), rng))
    body = scene.nucleolar
    if traits.kind > 0.75:
        body = body - np.float32(0.75) * blur(body, scene.px(0.45)) ** 2
    return np.asarray(np.maximum(body, 0) * grain, dtype=np.float32)


def nucleolus_fc_dfc(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Small bright beads within the nucleoli."""
    bodies = scene.nucleoli
    counts = 1 + rng.poisson(between(1.0, 5.0, traits.count) * (bodies.radii * scene.pixel_um / 1.5) ** 1.5)
    body = np.repeat(np.arange(len(bodies.radii)), counts)
    turn = rng.uniform(0, 2 * np.pi, len(body))
    away = 0.72 * np.sqrt(rng.random(len(body))) * bodies.radii[body]
    points = bodies.centres[body] + np.stack([np.sin(turn), np.cos(turn)], axis=1) * away[:, None]
    light = np.exp(rng.normal(0, 0.35, len(body))).astype(np.float32)
    beads = splat(scene, points.astype(np.float32), light, bodies.owners[body])
    beads = blur(beads, scene.px(between(0.2, 0.34, traits.size)))
    # the surrounding granular component holds a little of it
    veil = np.float32(between(0.02, 0.10, 1 - traits.contrast)) * np.float32(0.2 / scene.px(0.2) ** 2)
    return np.asarray(beads + veil * scene.nucleolar, dtype=np.float32)


def nuclear_membrane(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """A thin rim with gaps in brightness, folds across some nuclei, a veil where the envelope lies flat."""
    width = between(0.16, 0.30, traits.size)
    pores = 1 + np.float32(between(0.1, 0.45, traits.contrast)) * texture(scene.shape, scene.px(0.35), rng)
    rim = np.exp(-(((scene.depth_um - np.float32(0.1)) / np.float32(width)) ** 2) / 2) * np.maximum(pores, 0)
    folds = np.exp(-((texture(scene.shape, scene.px(2.0), rng) / np.float32(0.09)) ** 2))
    folded = (rng.random(scene.n_cells + 1) < between(0.05, 0.5, traits.count)).astype(np.float32)
    veil = np.float32(between(0.05, 0.22, traits.kind)) + np.float32(0.45) * folds * scene.per_cell(folded)
    return np.asarray(rim + veil * scene.nucleus, dtype=np.float32)
