"""Patterns that fill the cytoplasm, line the cell or run through it. Pure; returns as in `patterns_nucleus`."""

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.synthetic.noise import texture
from locatlas.indexer.synthetic.scene import Scene
from locatlas.indexer.synthetic.strokes import blur, sample, splat, walk
from locatlas.indexer.synthetic.traits import Traits, between

__all__ = ["cytoplasmic", "cytoskeleton", "er", "focal_adhesions", "membrane", "microtubules"]

Field = NDArray[np.float32]

_STEP_PX = 0.9  # between the points of a filament: near enough that blur makes a line of them


def cytoplasmic(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Follows the cell's thickness; the nucleus is dark to nearly even; a little grain."""
    spared = np.float32(between(0.62, 0.95, traits.kind))
    grain = texture(scene.shape, scene.px(between(0.25, 0.5, traits.size)), rng)
    clouds = texture(scene.shape, scene.px(1.6), rng)
    amplitude = np.float32(between(0.03, 0.22, traits.contrast))
    body = scene.height * (1 - spared * scene.nucleus) * np.exp(amplitude * (grain + np.float32(0.6) * clouds))
    return np.asarray(body, dtype=np.float32)


def er(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """A mesh that thins out toward the rim, sheets near the nucleus, and the nuclear envelope."""
    wave = texture(scene.shape, scene.px(between(0.42, 0.62, traits.size)), rng)
    mesh = np.exp(-((wave / np.float32(0.38)) ** 2))
    contrast = np.float32(between(0.35, 0.8, traits.contrast))
    reach_um = np.float32(scene.cell_um * between(0.25, 0.65, traits.count))
    outward = np.exp(np.minimum(scene.depth_um, 0) / reach_um)
    rim = np.exp(-(((scene.depth_um + np.float32(0.05)) / np.float32(0.3)) ** 2) / 2)
    sheets = scene.height * (1 - np.float32(0.82) * scene.nucleus) * outward
    body = sheets * (1 - contrast + contrast * mesh * 2) + np.float32(between(0.15, 0.7, traits.kind)) * rim
    return np.asarray(np.where(scene.cells > 0, body, 0), dtype=np.float32)


def membrane(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Bright outlines, uneven along the border, over the veil of the upper and lower membrane; ruffles at free rims."""
    along = np.exp(np.float32(between(0.15, 0.6, traits.contrast)) * texture(scene.shape, scene.px(1.0), rng))
    line = blur(scene.borders * along, scene.px(between(0.16, 0.3, traits.size)))
    ruffled = np.exp(-scene.edge_um / np.float32(0.7)) * np.clip(texture(scene.shape, scene.px(0.6), rng), 0, 2)
    veil = np.float32(between(0.03, 0.13, traits.kind)) * np.minimum(scene.height * 2, 1)
    grain = np.exp(np.float32(0.2) * texture(scene.shape, scene.px(0.35), rng))
    inside = (line > 0) | (scene.cells > 0)
    body = line * np.float32(scene.px(0.2)) + np.float32(0.12) * ruffled * (scene.cells > 0) + veil * grain
    return np.asarray(np.where(inside, body, 0), dtype=np.float32)


def microtubules(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Long, gently bent filaments: half leave the centrosome in all directions, half run along the nucleus first."""
    per_cell = int(between(80, 130, traits.count))
    owners = np.repeat(np.arange(1, scene.n_cells + 1), per_cell)
    n = len(owners)
    headings = rng.uniform(0, 2 * np.pi, n).astype(np.float32)
    starts = scene.centrosomes[owners] + rng.normal(0, scene.px(1.6), (n, 2)).astype(np.float32)
    around = rng.random(n) < 0.55
    turn = rng.uniform(0, 2 * np.pi, n).astype(np.float32)
    away = scene.radii[owners] * rng.uniform(1.0, 1.5, n).astype(np.float32)
    circle = scene.centres[owners] + np.stack([np.sin(turn), np.cos(turn)], axis=1) * away[:, None]
    starts = np.where(around[:, None], circle, starts).astype(np.float32)
    # along the envelope, either way round, drifting outward
    side = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    headings = np.where(around, turn + side * rng.uniform(0.5, 1.5, n), headings).astype(np.float32)
    steps = int(scene.px(1.15 * scene.cell_um) / _STEP_PX)
    track = walk(starts, headings, steps=steps, step_px=_STEP_PX, bend=0.07, rng=rng)
    # a filament ends somewhere, most of them far out
    ends = (np.sqrt(rng.random(n)) * steps).astype(np.int32)
    light = (np.arange(steps)[None] < ends[:, None]).astype(np.float32)
    lines = splat(scene, track, light, owners[:, None])
    # between the filaments that can be told apart lie many that cannot
    mesh = np.exp(-((texture(scene.shape, scene.px(0.4), rng) / np.float32(0.5)) ** 2)) * scene.height
    lines += mesh * np.float32(0.45 * lines.sum() / max(float(mesh.sum()), 1e-6))
    return np.asarray(lines * (1 - np.float32(0.75) * scene.nucleus), dtype=np.float32)


def _actin(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Cortex and straight, nearly parallel stress fibres."""
    counts = np.full(scene.n_cells + 1, int(between(8, 26, traits.count)))
    points, owners = sample(scene, (scene.cells > 0).astype(np.float32), counts, rng)
    steps = int(scene.px(between(7, 13, traits.size)) / _STEP_PX)
    headings = (scene.angles[owners] + rng.normal(0, 0.22, len(owners))).astype(np.float32)
    track = walk(points, headings, steps=steps, step_px=_STEP_PX, bend=0.012, rng=rng)
    strength = np.exp(rng.normal(0, 0.5, (len(owners), 1))).astype(np.float32)
    fibres = splat(scene, track, np.broadcast_to(strength, track.shape[:2]), owners[:, None])
    along = np.exp(np.float32(0.6) * texture(scene.shape, scene.px(1.4), rng))
    cortex = blur(scene.borders * along, scene.px(0.22)) * np.float32(scene.px(0.2))
    return np.asarray(fibres + np.float32(between(1.0, 2.6, traits.contrast)) * cortex, dtype=np.float32)


def cytoskeleton(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Microtubules (kind < 0.5) or actin."""
    draw = microtubules if traits.kind < 0.5 else _actin
    return blur(draw(scene, traits, rng), scene.px(between(0.08, 0.18, traits.size)))


def focal_adhesions(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Short streaks near the rim, pointing outward."""
    band = np.exp(-((scene.edge_um - np.float32(1.6)) ** 2) / np.float32(2 * 1.1**2)) * (scene.cells > 0)
    band += np.float32(0.06) * (scene.cells > 0)
    band *= 1 - np.float32(0.8) * scene.nucleus
    clusters = np.clip(texture(scene.shape, scene.px(3.0), rng) + np.float32(0.2), 0, 2)
    counts = rng.poisson(between(16, 44, traits.count), scene.n_cells + 1)
    counts[scene.mitotic] = 0
    points, owners = sample(scene, (band * clusters).astype(np.float32), counts, rng)
    outward = points - scene.centres[owners]
    headings = np.arctan2(outward[:, 0], outward[:, 1]) + rng.normal(0, 0.3, len(points))
    longest = max(int(scene.px(between(1.4, 2.8, traits.size)) / 0.5), 2)
    track = walk(points, headings.astype(np.float32), steps=longest, step_px=0.5, bend=0.03, rng=rng)
    ends = rng.integers(max(longest // 3, 1), longest + 1, len(points))
    strength = np.exp(rng.normal(0, 0.4, (len(points), 1))).astype(np.float32)
    light = strength * (np.arange(longest)[None] < ends[:, None])
    return blur(
        splat(scene, track, light.astype(np.float32), owners[:, None]), scene.px(between(0.14, 0.22, traits.contrast))
    )
