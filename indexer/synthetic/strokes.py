"""Points and filaments: sample places inside cells, walk from them, put light on the pixel grid. Pure."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.indexer.synthetic.scene import Scene

__all__ = ["blur", "sample", "splat", "spots", "walk"]

Points = NDArray[np.float32]


def blur(field: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Gaussian blur, kernel cut at 3 SD."""
    return np.asarray(ndimage.gaussian_filter(field, sigma_px, truncate=3.0, mode="nearest"), dtype=np.float32)


def sample(
    scene: Scene, weight: NDArray[np.float32], counts: NDArray[np.intp], rng: np.random.Generator
) -> tuple[Points, NDArray[np.intp]]:
    """Draw places inside cells with probability proportional to `weight`.

    Args:
        scene: The field.
        weight: (h, w), not negative.
        counts: (n + 1,) places per cell label, for a cell that is wholly in the field; entry 0 is ignored.
        rng: Source of randomness.

    Returns:
        (m, 2) float32 y and x in pixels, and the (m,) labels of their cells. A cell without weight gets none.
    """
    wanted = counts.copy()
    wanted[0] = 0
    cumulative = np.concatenate([[0.0], np.cumsum(weight.ravel()[scene.order], dtype=np.float64)])
    low, high = cumulative[scene.bounds[:-1]], cumulative[scene.bounds[1:]]
    # a cell cut by the edge of the field shows its part of the places, not all of them squeezed into the part
    usual = np.median((high - low)[1:]) if scene.n_cells else 0.0
    visible = np.minimum((high - low) / max(usual, 1e-9), 1.0)
    owners = np.repeat(np.arange(len(counts)), rng.binomial(wanted, visible))
    draws = rng.random((3, len(owners)))
    found = high[owners] > low[owners]
    owners, draws = owners[found], draws[:, found]
    value = low[owners] + draws[0] * (high - low)[owners]
    index = np.searchsorted(cumulative, value, side="right") - 1
    index = np.clip(index, scene.bounds[owners], scene.bounds[owners + 1] - 1)
    y, x = np.divmod(scene.order[index], scene.shape[1])
    return np.stack([y, x], axis=1).astype(np.float32) + (draws[1:].T - 0.5).astype(np.float32), owners


def walk(
    starts: Points,
    headings: NDArray[np.float32],
    *,
    steps: int,
    step_px: float,
    bend: float,
    rng: np.random.Generator,
) -> Points:
    """Persistent random walks.

    Args:
        starts: (m, 2) y and x.
        headings: (m,) first directions in radians.
        steps: Points per walk.
        step_px: Distance between points.
        bend: SD of the change of direction per step, radians.
        rng: Source of randomness.

    Returns:
        (m, steps, 2) float32; the first point is one step from the start.
    """
    turns = rng.standard_normal((len(starts), steps), dtype=np.float32) * np.float32(bend)
    direction = headings[:, None].astype(np.float32) + np.cumsum(turns, axis=1)
    moves = np.stack([np.sin(direction), np.cos(direction)], axis=2) * np.float32(step_px)
    return np.asarray(starts[:, None, :] + np.cumsum(moves, axis=1), dtype=np.float32)


def splat(
    scene: Scene, points: Points, weights: NDArray[np.float32], owners: NDArray[np.intp] | None = None
) -> NDArray[np.float32]:
    """Add points of light to the grid, shared among the four nearest pixels.

    Args:
        scene: The field.
        points: (..., 2) y and x.
        weights: Light of each point, shape of `points` without its last axis.
        owners: Labels, broadcastable to `weights`; points that lie outside their own cell are dropped.

    Returns:
        (h, w) float32.
    """
    height, width = scene.shape
    y, x = points[..., 0].ravel(), points[..., 1].ravel()
    light = np.broadcast_to(weights, points.shape[:-1]).ravel()
    inside = (y >= 0) & (x >= 0) & (y < height - 1) & (x < width - 1)
    y, x, light = y[inside], x[inside], light[inside]
    top, left = y.astype(np.intp), x.astype(np.intp)
    if owners is not None:
        own = np.broadcast_to(owners, points.shape[:-1]).ravel()[inside]
        kept = scene.cells[top, left] == own
        y, x, light, top, left = y[kept], x[kept], light[kept], top[kept], left[kept]
    down, across = y - top, x - left
    base = top * width + left
    index = np.concatenate([base, base + 1, base + width, base + width + 1])
    shares = np.concatenate(
        [
            light * (1 - down) * (1 - across),
            light * (1 - down) * across,
            light * down * (1 - across),
            light * down * across,
        ]
    )
    return np.bincount(index, weights=shares, minlength=height * width).reshape(height, width).astype(np.float32)


def spots(
    scene: Scene,
    points: Points,
    owners: NDArray[np.intp],
    *,
    sigma_px: float,
    spread: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Gaussian spots of about one size with log-normal brightness of SD `spread`; each holds a sum of about 1."""
    light = np.exp(rng.normal(0, spread, len(points))).astype(np.float32)
    return blur(splat(scene, points, light, owners), sigma_px)
