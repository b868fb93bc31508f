"""A field of cells before any stain: outlines, nuclei, nucleoli and the maps that patterns are drawn from. Pure."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)

__all__ = ["Nucleoli", "Scene"]


@dataclass(frozen=True, slots=True, eq=False)
class Nucleoli:
    """The nucleoli of all cells of a field.

    Attributes:
        centres: (m, 2) float32, y and x in pixels.
        radii: (m,) float32, pixels.
        owners: (m,) cell labels.
    """

    centres: NDArray[np.float32]
    radii: NDArray[np.float32]
    owners: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Cells of one field of view. Per-cell arrays are indexed by cell label; entry 0 stands for the background.

    Attributes:
        pixel_um: Edge of a pixel in micrometres.
        cell_um: Usual radius of a cell that no neighbor stops.
        cells: (h, w) uint16 cell labels, 0 background.
        index: The same labels as array indices, which look-ups take without a copy.
        nuclei: (h, w) uint16, the cell's label inside its nucleus.
        depth_um: (h, w) float32, depth below the cell's own nuclear envelope; negative outside the nucleus.
        edge_um: (h, w) float32, distance to the cell's border.
        height: (h, w) float32 in [0, 1], thickness of the cell; 0 in the background.
        nucleus: (h, w) float32 in [0, 1], soft nuclear mask.
        nucleolar: (h, w) float32 in [0, 1], soft mask of the nucleoli.
        borders: (h, w) bool, pixels at which the cell label changes.
        order: Flat indices of the pixels of cells, sorted by label.
        bounds: (n + 2,) where each label's pixels begin in `order`.
        centres: (n + 1, 2) float32, y and x of the nuclei in pixels; may lie outside the field.
        centrosomes: (n + 1, 2) float32, y and x in pixels.
        radii: (n + 1,) float32, mean nuclear radius in pixels.
        angles: (n + 1,) float32, direction of the cell's long axis in radians.
        mitotic: (n + 1,) bool.
        nucleoli: Their places and sizes.
    """

    pixel_um: float
    cell_um: float
    cells: NDArray[np.uint16]
    index: NDArray[np.intp]
    nuclei: NDArray[np.uint16]
    depth_um: NDArray[np.float32]
    edge_um: NDArray[np.float32]
    height: NDArray[np.float32]
    nucleus: NDArray[np.float32]
    nucleolar: NDArray[np.float32]
    borders: NDArray[np.bool_]
    order: NDArray[np.intp]
    bounds: NDArray[np.intp]
    centres: NDArray[np.float32]
    centrosomes: NDArray[np.float32]
    radii: NDArray[np.float32]
    angles: NDArray[np.float32]
    mitotic: NDArray[np.bool_]
    nucleoli: Nucleoli

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (int(self.cells.shape[0]), int(self.cells.shape[1]))

    @property
    def n_cells(self) -> int:
        """Cells with at least a part in the field or its margin."""
        return len(self.radii) - 1

    def px(self, micrometres: float) -> float:
        """A length in pixels."""
        return micrometres / self.pixel_um

    def per_cell(self, values: NDArray[_T]) -> NDArray[_T]:
        """Spread one value per label, shape (n + 1,), over the field."""
        return np.take(values, self.index)
