"""How the two sources look: scale, cell sizes, density, camera. Data only.

Sizes follow the real data: OpenCell is HEK293T, live, 600 px at 0.2 um, uint16 counts on a camera offset; HPA is mostly
U2OS and other flat cells, fixed, 2048 px at 0.08 um reduced to 512 px, contrast-stretched to 8 bit.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["HPA", "LOOKS", "OPENCELL", "Look", "SourceName"]

SourceName = Literal["opencell", "hpa"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Geometry and optics of one source.

    Attributes:
        source: Its name.
        pixel_um: Edge of a pixel in micrometres.
        pitch_um: Usual distance between the centres of neighboring cells.
        nucleus_um: Mean radius of a nucleus.
        cell_um: Radius to which a cell spreads where no neighbor stops it.
        spread: Relative SD of nuclear and cell size between cells.
        spikes: Depth of the lobes and protrusions of the outline, as a share of the radius.
        flatness: 0 for cells that stay thick up to their rim, 1 for cells that are thick at the nucleus only.
        occupancy: Range of the share of the field where cells may lie.
        mitotic: Expected share of cells in metaphase.
        psf_um: Range of the SD of the in-focus blur.
        haze: Range of the share of light that is out of focus.
    """

    source: SourceName
    pixel_um: float
    pitch_um: float
    nucleus_um: float
    cell_um: float
    spread: float
    spikes: float
    flatness: float
    occupancy: tuple[float, float]
    mitotic: float
    psf_um: tuple[float, float]
    haze: tuple[float, float]


OPENCELL = Look(
    source="opencell",
    pixel_um=0.2,
    pitch_um=19.0,
    nucleus_um=6.6,
    cell_um=15.0,
    spread=0.10,
    spikes=0.20,
    flatness=0.25,
    occupancy=(0.60, 1.0),
    mitotic=0.03,
    psf_um=(0.15, 0.27),
    haze=(0.18, 0.42),
)

HPA = Look(
    source="hpa",
    pixel_um=0.32,
    pitch_um=33.0,
    nucleus_um=8.6,
    cell_um=26.0,
    spread=0.14,
    spikes=0.26,
    flatness=0.45,
    occupancy=(0.55, 1.0),
    mitotic=0.015,
    psf_um=(0.16, 0.26),
    haze=(0.04, 0.14),
)

LOOKS: dict[SourceName, Look] = {"opencell": OPENCELL, "hpa": HPA}
