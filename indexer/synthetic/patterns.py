"""From a protein to its light: every component's pattern, mixed, with cell-to-cell variation. Pure."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.synthetic import patterns_cytoplasm, patterns_nucleus, patterns_organelles
from locatlas.indexer.synthetic.classes import class_by_label
from locatlas.indexer.synthetic.proteins import Protein
from locatlas.indexer.synthetic.scene import Scene
from locatlas.indexer.synthetic.traits import Traits, jittered

__all__ = ["PATTERNS", "draw_pattern", "draw_protein"]

Pattern = Callable[[Scene, Traits, np.random.Generator], NDArray[np.float32]]

PATTERNS: Mapping[str, Pattern] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            patterns_nucleus.nucleoplasm,
            patterns_nucleus.chromatin,
            patterns_nucleus.nuclear_punctae,
            patterns_nucleus.nucleolus_gc,
            patterns_nucleus.nucleolus_fc_dfc,
            patterns_nucleus.nuclear_membrane,
            patterns_cytoplasm.cytoplasmic,
            patterns_cytoplasm.er,
            patterns_cytoplasm.membrane,
            patterns_cytoplasm.cytoskeleton,
            patterns_cytoplasm.focal_adhesions,
            patterns_organelles.golgi,
            patterns_organelles.mitochondria,
            patterns_organelles.vesicles,
            patterns_organelles.centrosome,
        )
    }
)
"""Drawing function of each class label."""


def draw_pattern(label: str, scene: Scene, traits: Traits, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one localization with mean 1 over the pixels of cells; mitotic cells as the class says.

    Returns:
        float32 (h, w), not negative; all zeros in a field without cells.
    """
    field = PATTERNS[label](scene, traits, rng)
    if not class_by_label(label).survives_mitosis and scene.mitotic.any():
        usual = float(field.sum()) / max(float(scene.height.sum()), 1e-6)
        field = np.where(scene.per_cell(scene.mitotic), np.float32(usual) * scene.height, field)
    n_pixels = len(scene.order) - scene.bounds[1]
    total = float(field.sum(dtype=np.float64))
    if total <= 0 or n_pixels == 0:
        return np.zeros(scene.shape, dtype=np.float32)
    return np.asarray(field * np.float32(n_pixels / total), dtype=np.float32)


def draw_protein(scene: Scene, protein: Protein, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw all of a protein's light, mean near 1 over the pixels of cells before cells vary.

    Returns:
        float32 (h, w), not negative, without optics or noise.
    """
    total = np.zeros(scene.shape, dtype=np.float32)
    for component in protein.components:
        total += np.float32(component.share) * draw_pattern(
            component.label, scene, jittered(component.traits, rng), rng
        )
    levels = np.exp(rng.normal(0, protein.cell_sd, scene.n_cells + 1))
    levels[rng.random(scene.n_cells + 1) < protein.dim_cells] *= 0.15
    levels[0] = 1  # light of a border line that falls on the background
    return total * scene.per_cell(levels.astype(np.float32))
