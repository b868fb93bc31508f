"""Lay out cells: places, nuclei as perturbed ellipses, outlines as a distance-limited weighted Voronoi. Pure."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.indexer.synthetic.looks import Look
from locatlas.indexer.synthetic.noise import texture
from locatlas.indexer.synthetic.scene import Nucleoli, Scene

__all__ = ["lay_out"]

_N_ANGLES = 512  # entries of an outline table; an arc of half a pixel at the rim of the largest cell
_FAR = np.float32(9.0)  # radial coordinate where no cell is near


def lay_out(shape: tuple[int, int], look: Look, rng: np.random.Generator) -> Scene:
    """Make a field of cells.

    Args:
        shape: (height, width) in pixels.
        look: Sizes and densities.
        rng: Everything random comes from it.
    """
    occupancy = rng.uniform(*look.occupancy)
    places = _place(shape, look, occupancy, rng)
    n = len(places)
    mitotic = np.concatenate([[False], rng.random(n) < look.mitotic])
    size = np.exp(rng.normal(0, look.spread, n + 1)).astype(np.float32)
    angles = rng.uniform(0, np.pi, n + 1).astype(np.float32)
    radii = (size * look.nucleus_um / look.pixel_um).astype(np.float32)
    nuclear = _nuclear_outlines(radii, angles, mitotic, rng)
    cellular = _cell_outlines(size * look.cell_um / look.pixel_um, look.spikes, angles, mitotic, rng)
    centres = np.concatenate([[[-1, -1]], places]).astype(np.float32)
    cells, rho, reach = _assign(shape, centres, nuclear, cellular, rng)

    index = cells.astype(np.intp)
    depth_um = (1 - rho) * np.take(radii, index) * np.float32(look.pixel_um)
    depth_um[cells == 0] = -_FAR
    # half a pixel of anti-aliasing on either side of the envelope
    nucleus = np.clip(depth_um / np.float32(look.pixel_um) + np.float32(0.5), 0, 1)
    borders = _borders(cells)
    edge_um = _edge_distance(borders) * np.float32(look.pixel_um)
    height = _height(cells, depth_um, edge_um, reach, look)
    nucleoli, nucleolar = _nucleoli(shape, centres, radii, mitotic, nucleus, look, rng)
    flat = cells.ravel()
    order = np.argsort(flat, kind="stable")
    bounds = np.searchsorted(flat[order], np.arange(n + 2))
    return Scene(
        pixel_um=look.pixel_um,
        cell_um=look.cell_um,
        cells=cells,
        index=index,
        nuclei=np.where(depth_um >= 0, cells, 0).astype(np.uint16),
        depth_um=depth_um,
        edge_um=edge_um,
        height=height,
        nucleus=nucleus,
        nucleolar=nucleolar,
        borders=borders,
        order=order,
        bounds=bounds,
        centres=centres,
        centrosomes=_centrosomes(centres, nuclear, angles, rng),
        radii=radii,
        angles=angles,
        mitotic=mitotic,
        nucleoli=nucleoli,
    )


def _place(shape: tuple[int, int], look: Look, occupancy: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Throw darts that keep their distance; low-frequency noise leaves holes, as between islands of HEK cells."""
    pitch = look.pitch_um / look.pixel_um
    margin = 0.6 * pitch
    extent = np.array(shape) + 2 * margin
    wanted = int(np.prod(extent) / pitch**2)
    darts = rng.random((9 * wanted, 2)) * extent - margin
    gaps = pitch * rng.uniform(0.66, 1.05, len(darts))
    island = texture(shape, min(40.0, pitch), rng)
    threshold = np.quantile(island, 1 - occupancy)
    inside = np.clip(darts.astype(int), 0, np.array(shape) - 1)
    welcome = island[inside[:, 0], inside[:, 1]] >= threshold
    kept = np.empty((0, 2))
    for dart, gap in zip(darts[welcome], gaps[welcome], strict=True):
        if not len(kept) or np.min(np.sum((kept - dart) ** 2, axis=1)) > gap * gap:
            kept = np.concatenate([kept, dart[None]])
    return np.round(kept).astype(np.float32)


def _waves(n: int, amplitudes: tuple[float, ...], first: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, angles) sums of cosines of the orders first, first + 1, ... with random phases."""
    theta = np.linspace(0, 2 * np.pi, _N_ANGLES, endpoint=False, dtype=np.float32)
    total = np.zeros((n, _N_ANGLES), dtype=np.float32)
    for order, amplitude in enumerate(amplitudes, start=first):
        phase = rng.uniform(0, 2 * np.pi, (n, 1)).astype(np.float32)
        strength = rng.normal(0, amplitude, (n, 1)).astype(np.float32)
        total += strength * np.cos(order * theta + phase)
    return total


def _ellipse(
    long: NDArray[np.floating], short: NDArray[np.floating], angles: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(n, angles) polar radius of ellipses with the long axis in direction `angles`."""
    theta = np.linspace(0, 2 * np.pi, _N_ANGLES, endpoint=False, dtype=np.float32)[None] - angles[:, None]
    return np.asarray(1 / np.sqrt((np.cos(theta) / long[:, None]) ** 2 + (np.sin(theta) / short[:, None]) ** 2))


def _nuclear_outlines(
    radii: NDArray[np.float32], angles: NDArray[np.float32], mitotic: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Interphase nuclei are ovals with dents; the metaphase plate is a bar."""
    n = len(radii)
    aspect = rng.uniform(1.05, 1.55, n).astype(np.float32)
    aspect[mitotic] = 3.4
    scale = np.where(mitotic, np.float32(0.72), np.float32(1.0)).astype(np.float32) * radii
    oval = _ellipse(scale * np.sqrt(aspect), scale / np.sqrt(aspect), angles)
    return oval * (1 + _waves(n, (0.04, 0.035, 0.02, 0.012), 2, rng))


def _cell_outlines(
    radii: NDArray[np.float32],
    spikes: float,
    angles: NDArray[np.float32],
    mitotic: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Lobed outlines along the nucleus' long axis; mitotic cells are round."""
    n = len(radii)
    aspect = rng.uniform(1.0, 1.5, n).astype(np.float32)
    oval = _ellipse(radii * np.sqrt(aspect), radii / np.sqrt(aspect), angles)
    lobes = _waves(n, (spikes * 0.5, spikes * 0.6, spikes * 0.6, spikes * 0.45, spikes * 0.3, spikes * 0.3), 2, rng)
    outlines = oval * np.clip(1 + lobes, 0.55, 1.7)
    outlines[mitotic] = 0.68 * radii[mitotic, None]
    return np.asarray(outlines, dtype=np.float32)


@lru_cache(maxsize=4)
def _polar(half: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Radius and index of the angle around the middle of a (2 half + 1) square."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    turn = np.arctan2(y, x) / (2 * np.pi) % 1.0
    return np.hypot(y, x), (turn * _N_ANGLES).astype(np.intp) % _N_ANGLES


def _assign(
    shape: tuple[int, int],
    centres: NDArray[np.float32],
    nuclear: NDArray[np.float32],
    cellular: NDArray[np.float32],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint16], NDArray[np.float32], NDArray[np.float32]]:
    """Give every pixel to the cell that reaches farthest over it.

    Returns:
        Labels; radial coordinate in the owner's nucleus (1 at the envelope); radial coordinate in the owner's outline.
    """
    cells = np.zeros(shape, dtype=np.uint16)
    rho = np.full(shape, _FAR, dtype=np.float32)
    best = np.ones(shape, dtype=np.float32)
    wobble = 1 + np.float32(0.055) * texture(shape, 9.0, rng) + np.float32(0.03) * texture(shape, 2.8, rng)
    # rounded up so that the polar template is shared by all fields of a source
    half = int(np.ceil(max(float(cellular.max()), float(nuclear.max()) * 1.3) / 64) * 64)
    radius, angle = _polar(half)
    for label in range(1, len(centres)):
        y, x = (int(value) for value in centres[label])
        reach = int(max(cellular[label].max(), 1.3 * nuclear[label].max()) * 1.15) + 2
        reach = min(reach, half)
        top, bottom, left, right = (
            max(y - reach, 0),
            min(y + reach + 1, shape[0]),
            max(x - reach, 0),
            min(x + reach + 1, shape[1]),
        )
        if top >= bottom or left >= right:
            continue
        window = np.s_[top:bottom, left:right]
        part = np.s_[top - y + half : bottom - y + half, left - x + half : right - x + half]
        from_nucleus = radius[part] / np.take(nuclear[label], angle[part])
        score = radius[part] / np.take(cellular[label], angle[part]) * wobble[window]
        # a nucleus and a rim around it always belong to their own cell
        np.minimum(score, np.float32(0.8) * from_nucleus, out=score)
        won = score < best[window]
        np.copyto(best[window], score, where=won)
        np.copyto(rho[window], from_nucleus, where=won)
        np.copyto(cells[window], np.uint16(label), where=won)
    return cells, rho, best


def _borders(cells: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbor has another label."""
    borders = np.zeros(cells.shape, dtype=np.bool_)
    borders[:, :-1] |= cells[:, :-1] != cells[:, 1:]
    borders[:-1] |= cells[:-1] != cells[1:]
    return borders


def _edge_distance(borders: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance to the nearest border in pixels, at half the resolution because it only shapes smooth maps."""
    height, width = borders.shape
    padded = np.pad(borders, ((0, height % 2), (0, width % 2)))
    coarse = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).any(axis=(1, 3))
    if not coarse.any():
        return np.full(borders.shape, np.float32(max(borders.shape)))
    distance = ndimage.distance_transform_edt(~coarse).astype(np.float32)
    fine = np.repeat(np.repeat(2 * distance, 2, axis=0), 2, axis=1)[:height, :width]
    return np.asarray(ndimage.uniform_filter(fine, 3))


def _height(
    cells: NDArray[np.uint16],
    depth_um: NDArray[np.float32],
    edge_um: NDArray[np.float32],
    reach: NDArray[np.float32],
    look: Look,
) -> NDArray[np.float32]:
    """Thickness in [0, 1]: falls to the rim, and with the distance from the nucleus in flat cells."""
    rim = 1 - np.exp(-edge_um / np.float32(1.6))
    away = np.exp(np.minimum(depth_um, 0) / np.float32(0.35 * look.cell_um))
    bulk = (1 - look.flatness) + look.flatness * away
    return np.asarray(np.where(cells > 0, rim * bulk * (1 - 0.35 * reach**2), 0), dtype=np.float32)


def _nucleoli(
    shape: tuple[int, int],
    centres: NDArray[np.float32],
    radii: NDArray[np.float32],
    mitotic: NDArray[np.bool_],
    nucleus: NDArray[np.float32],
    look: Look,
    rng: np.random.Generator,
) -> tuple[Nucleoli, NDArray[np.float32]]:
    """One to five round bodies per interphase nucleus, fewer when larger."""
    counts = np.where(mitotic, 0, rng.integers(1, 6, len(centres)))
    counts[0] = 0
    owners = np.repeat(np.arange(len(centres)), counts)
    total = len(owners)
    away = 0.62 * np.sqrt(rng.random(total)) * radii[owners]
    turn = rng.uniform(0, 2 * np.pi, total)
    places = centres[owners] + np.stack([np.sin(turn), np.cos(turn)], axis=1) * away[:, None]
    sizes = radii[owners] * rng.uniform(0.30, 0.46, total) / np.sqrt(counts[owners]) ** 0.8
    soft = np.zeros(shape, dtype=np.float32)
    wobble = np.float32(0.13) * texture(shape, 0.8 / look.pixel_um, rng)
    for (y, x), size in zip(places, sizes, strict=True):
        reach = int(size * 1.6) + 3
        top, bottom = max(int(y) - reach, 0), min(int(y) + reach + 1, shape[0])
        left, right = max(int(x) - reach, 0), min(int(x) + reach + 1, shape[1])
        if top >= bottom or left >= right:
            continue
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
        columns = np.arange(left, right, dtype=np.float32)[None] - np.float32(x)
        window = np.s_[top:bottom, left:right]
        radial = np.sqrt(rows**2 + columns**2) / np.float32(size) + wobble[window]
        np.maximum(soft[window], np.clip((1 - radial) * np.float32(size) + 0.5, 0, 1), out=soft[window])
    soft *= nucleus
    return Nucleoli(places.astype(np.float32), sizes.astype(np.float32), owners), soft


def _centrosomes(
    centres: NDArray[np.float32], nuclear: NDArray[np.float32], angles: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Just outside the nucleus, on either side of its long axis or anywhere around it."""
    turn = angles + rng.normal(0, 0.9, len(angles)) + np.pi * rng.integers(0, 2, len(angles))
    entry = np.floor(turn % (2 * np.pi) / (2 * np.pi) * _N_ANGLES).astype(np.intp) % _N_ANGLES
    away = nuclear[np.arange(len(angles)), entry] * rng.uniform(1.03, 1.2, len(angles))
    return (centres + np.stack([np.sin(turn), np.cos(turn)], axis=1) * away[:, None]).astype(np.float32)
