"""Golgi, mitochondria, vesicles, centrosomes. Pure; returns as in `patterns_nucleus`."""

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.synthetic.scene import Scene
from locatlas.indexer.synthetic.strokes import blur, sample, splat, spots, walk
from locatlas.indexer.synthetic.traits import Traits, between

__all__ = ["centrosome", "golgi", "mitochondria", "vesicles"]

Field = NDArray[np.float32]


def _outside_nucleus(scene: Scene) -> Field:
    """Where organelles may lie: the cytoplasm, a little less likely over the nucleus and at the very rim."""
    body = (scene.cells > 0) * (1 - np.float32(0.94) * scene.nucleus) * np.clip(scene.edge_um / np.float32(0.8), 0, 1)
    return np.asarray(body, dtype=np.float32)


def golgi(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """A ribbon of short bent stacks beside the nucleus, at the centrosome; fragments around it."""
    y, x = np.indices(scene.shape, dtype=np.float32)
    poles = scene.centrosomes
    squared = (y - scene.per_cell(poles[:, 0])) ** 2 + (x - scene.per_cell(poles[:, 1])) ** 2
    reach = np.float32(scene.px(between(1.3, 3.0, traits.count)))
    near = np.exp(-squared / (2 * reach**2)) * _outside_nucleus(scene)
    counts = rng.poisson(between(9, 24, traits.count), scene.n_cells + 1)
    points, owners = sample(scene, near, counts, rng)
    around = points - scene.centres[owners]
    # stacks run along the envelope rather than away from it
    headings = np.arctan2(around[:, 0], around[:, 1]) + np.pi / 2 + rng.normal(0, 0.7, len(points))
    steps = max(int(scene.px(between(0.8, 2.4, traits.size)) / 0.5), 2)
    track = walk(points, headings.astype(np.float32), steps=steps, step_px=0.5, bend=0.22, rng=rng)
    ribbon = splat(scene, track, np.ones(track.shape[:2], dtype=np.float32), owners[:, None])
    ribbon = blur(ribbon, scene.px(between(0.18, 0.30, traits.contrast))) * (1 - np.float32(0.7) * scene.nucleus)
    loose = rng.poisson(between(1, 9, traits.kind), scene.n_cells + 1)
    points, owners = sample(scene, _outside_nucleus(scene), loose, rng)
    return ribbon + np.float32(3.0) * spots(scene, points, owners, sigma_px=scene.px(0.22), spread=0.4, rng=rng)


def mitochondria(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Worm-like tubules, denser near the nucleus; short fragments in some proteins' cells (kind high)."""
    reach_um = np.float32(scene.cell_um * between(0.16, 0.45, traits.contrast))
    weight = _outside_nucleus(scene) * np.exp(np.minimum(scene.depth_um, 0) / reach_um)
    area_um2 = np.diff(scene.bounds) * scene.pixel_um**2
    counts = rng.poisson(np.minimum(area_um2, 900.0) * between(0.14, 0.26, traits.count))
    points, owners = sample(scene, weight, counts, rng)
    headings = rng.uniform(0, 2 * np.pi, len(points)).astype(np.float32)
    steps = max(int(scene.px(between(4.2, 1.0, traits.kind)) / 0.7), 2)
    track = walk(points, headings, steps=steps, step_px=0.7, bend=0.2, rng=rng)
    ends = rng.integers(max(steps // 3, 1), steps + 1, len(points))
    light = (np.arange(steps)[None] < ends[:, None]).astype(np.float32)
    tubules = splat(scene, track, light, owners[:, None]) * (1 - np.float32(0.9) * scene.nucleus)
    return blur(tubules, scene.px(between(0.16, 0.24, traits.size)))


def vesicles(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """Many small or fewer large dots in the cytoplasm; near the nucleus (kind low) or everywhere."""
    reach_um = np.float32(scene.cell_um * between(0.13, 0.9, traits.kind))
    weight = _outside_nucleus(scene) * np.exp(np.minimum(scene.depth_um, 0) / reach_um)
    counts = rng.poisson(between(14, 110, traits.count**1.4), scene.n_cells + 1)
    points, owners = sample(scene, weight, counts, rng)
    small = spots(scene, points, owners, sigma_px=scene.px(between(0.15, 0.26, traits.size)), spread=0.5, rng=rng)
    counts = rng.poisson(between(2, 16, traits.count), scene.n_cells + 1)
    points, owners = sample(scene, weight, counts, rng)
    large = spots(scene, points, owners, sigma_px=scene.px(between(0.24, 0.46, traits.size)), spread=0.5, rng=rng)
    return small + np.float32(between(1.0, 4.0, traits.contrast)) * large


def centrosome(scene: Scene, traits: Traits, rng: np.random.Generator) -> Field:
    """One or two dots beside the nucleus, with satellites in some proteins (kind high)."""
    n = scene.n_cells + 1
    turn = rng.uniform(0, 2 * np.pi, n)
    apart = np.where(rng.random(n) < 0.6, scene.px(0.9), scene.px(0.3)) * rng.uniform(0.6, 1.2, n)
    # the two centrosomes of a mitotic cell stand at the poles, across the plate
    turn = np.where(scene.mitotic, scene.angles + np.pi / 2, turn)
    apart = np.where(scene.mitotic, 1.3 * scene.radii, apart)
    middle = np.where(scene.mitotic[:, None], scene.centres, scene.centrosomes)
    offset = np.stack([np.sin(turn), np.cos(turn)], axis=1) * apart[:, None] / 2
    pair = np.concatenate([middle + offset, middle - offset])[np.r_[1:n, n + 1 : 2 * n]]
    light = np.exp(rng.normal(0, 0.3, len(pair))).astype(np.float32)
    dots = blur(
        splat(scene, pair.astype(np.float32), light, np.tile(np.arange(1, n), 2)),
        scene.px(between(0.2, 0.36, traits.size)),
    )
    y, x = np.indices(scene.shape, dtype=np.float32)
    squared = (y - scene.per_cell(scene.centrosomes[:, 0])) ** 2 + (x - scene.per_cell(scene.centrosomes[:, 1])) ** 2
    near = np.exp(-squared / np.float32(2 * scene.px(1.6) ** 2)) * (scene.cells > 0)
    counts = rng.poisson(between(0, 12, max(traits.kind - 0.4, 0)), n)
    points, owners = sample(scene, near.astype(np.float32), counts, rng)
    return dots + np.float32(0.12) * spots(scene, points, owners, sigma_px=scene.px(0.2), spread=0.4, rng=rng)
