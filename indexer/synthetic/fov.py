"""Draw one field of view of a protein as either source would show it, with its cell masks. Pure."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.synthetic.camera import Optics, expose_counts, expose_display, make_optics
from locatlas.indexer.synthetic.layout import lay_out
from locatlas.indexer.synthetic.looks import HPA, OPENCELL
from locatlas.indexer.synthetic.patterns import draw_protein
from locatlas.indexer.synthetic.patterns_cytoplasm import er, microtubules
from locatlas.indexer.synthetic.patterns_nucleus import dna
from locatlas.indexer.synthetic.proteins import Component, Protein
from locatlas.indexer.synthetic.scene import Scene
from locatlas.indexer.synthetic.traits import Traits

__all__ = ["DrawnFov", "draw_hpa", "draw_opencell"]


@dataclass(frozen=True, slots=True, eq=False)
class DrawnFov:
    """One field of view.

    Attributes:
        channels: Meanings of the planes.
        pixels: (channels, h, w), uint16 for OpenCell, uint8 for HPA.
        mask: (h, w) uint16, cells numbered from 1 in scan order of their labels; 0 is background. Cells whose nucleus
            is outside the field are drawn but not numbered.
        nuclei: (h, w) uint16, the same numbers inside the nuclei.
        mitotic: (n,) bool, entry i for cell i + 1.
    """

    channels: tuple[str, ...]
    pixels: NDArray[np.uint16] | NDArray[np.uint8]
    mask: NDArray[np.uint16]
    nuclei: NDArray[np.uint16]
    mitotic: NDArray[np.bool_]


def draw_opencell(protein: Protein, size_px: int, rng: np.random.Generator) -> DrawnFov:
    """Draw nucleus and protein of dense HEK-like cells as 16-bit counts."""
    shape = (size_px, size_px)
    scene = lay_out(shape, OPENCELL, rng)
    optics = make_optics(shape, OPENCELL, rng)
    offset = float(rng.uniform(110, 390))
    planes = []
    for light, photons in (
        (_nuclear_stain(scene, rng), float(rng.uniform(300, 900))),
        (draw_protein(scene, protein, rng), protein.brightness * float(np.exp(rng.normal(0, 0.15)))),
    ):
        background = float(rng.uniform(8, 30))
        seen = optics.image(light) * np.float32(photons) + np.float32(background) * optics.vignetting
        planes.append(expose_counts(seen, offset=offset, gain=2.5, read_sd=7.0, rng=rng))
    return _drawn(("nucleus", "protein"), np.stack(planes), scene)


def draw_hpa(protein: Protein, size_px: int, rng: np.random.Generator) -> DrawnFov:
    """Draw microtubules, protein, nucleus and ER of flat cells as 8-bit planes."""
    shape = (size_px, size_px)
    scene = lay_out(shape, HPA, rng)
    optics = make_optics(shape, HPA, rng)
    protein = replace(protein, components=tuple(_hpa_variety(part) for part in protein.components))
    planes = [
        _stained(_tubulin_stain(scene, rng), optics, rng, photons=60, white=0.998),
        _stained(draw_protein(scene, protein, rng), optics, rng, photons=protein.brightness * 0.6, white=0.999),
        _stained(_nuclear_stain(scene, rng), optics, rng, photons=120, white=0.997),
        _stained(_er_stain(scene, rng), optics, rng, photons=60, white=0.998),
    ]
    return _drawn(("microtubules", "protein", "nucleus", "er"), np.stack(planes), scene)


def _hpa_variety(part: Component) -> Component:
    """HPA's counterpart of OpenCell's chromatin is Nuclear speckles, so that is what its pictures show."""
    if part.label != "chromatin":
        return part
    return replace(part, traits=replace(part.traits, kind=max(part.traits.kind, 0.8)))


def _stained(
    light: NDArray[np.float32], optics: Optics, rng: np.random.Generator, *, photons: float, white: float
) -> NDArray[np.uint8]:
    floor = float(rng.uniform(0.02, 0.10))
    return expose_display(
        optics.image(light), photons=photons, floor=floor, white=white, pixel_um=HPA.pixel_um, rng=rng
    )


def _cell_levels(scene: Scene, sd: float, rng: np.random.Generator) -> NDArray[np.float32]:
    levels = np.exp(rng.normal(0, sd, scene.n_cells + 1)).astype(np.float32)
    levels[0] = 1
    return scene.per_cell(levels)


def _nuclear_stain(scene: Scene, rng: np.random.Generator) -> NDArray[np.float32]:
    return dna(scene, rng, float(rng.uniform(0.22, 0.4))) * _cell_levels(scene, 0.28, rng)


def _tubulin_stain(scene: Scene, rng: np.random.Generator) -> NDArray[np.float32]:
    lines = microtubules(scene, Traits(0.5, float(rng.random()), 0.5, 0.0), rng)
    lines = lines / max(float(lines.mean()), 1e-6)
    return np.asarray((lines + np.float32(0.2) * scene.height) * _cell_levels(scene, 0.25, rng), dtype=np.float32)


def _er_stain(scene: Scene, rng: np.random.Generator) -> NDArray[np.float32]:
    return er(scene, Traits(*(float(value) for value in rng.random(4))), rng) * _cell_levels(scene, 0.25, rng)


def _drawn(channels: tuple[str, ...], pixels: NDArray[np.uint16] | NDArray[np.uint8], scene: Scene) -> DrawnFov:
    """Number the cells whose nucleus is in the field."""
    counts = np.bincount(scene.nuclei.ravel(), minlength=scene.n_cells + 1)
    # at least a twentieth of a usual nucleus must show
    seen = counts >= 0.05 * np.pi * scene.radii**2
    seen[0] = False
    numbers = np.where(seen, np.cumsum(seen), 0).astype(np.uint16)
    return DrawnFov(channels, pixels, numbers[scene.cells], numbers[scene.nuclei], scene.mitotic[seen])
