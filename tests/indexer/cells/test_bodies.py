"""Cells around nuclei: distances against every pixel by itself, floods against a valley that was drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from locatlas.indexer.cells.bodies import flooded, nearest
from tests.indexer.drawn_nuclei import discs


@given(nuclei=npst.arrays(np.int32, (7, 8), elements=st.integers(0, 3)), reach=st.floats(0, 6))
def test_every_pixel_within_reach_is_that_of_a_nearest_nucleus(nuclei: NDArray[np.int32], reach: float) -> None:
    cells = nearest(nuclei, reach_px=reach)
    seeds = np.argwhere(nuclei > 0)
    for place in np.ndindex(nuclei.shape):
        away = np.hypot(*(seeds - place).T) if len(seeds) else np.array([np.inf])
        if away.min() > reach:
            assert cells[place] == 0
        else:
            assert cells[place] in {int(nuclei[tuple(seed)]) for seed in seeds[np.isclose(away, away.min())]}


def two_cells() -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Two nuclei in cells that meet in a dark valley at column 62, nearer to the second; dark background around."""
    nuclei = discs((100, 140), [(50, 30, 20), (50, 80, 20)])
    x = np.arange(140)[None] + np.zeros((100, 1))
    stain = np.where(abs(x - 62) < 3, 700.0, 2000.0)
    stain[:15], stain[85:], stain[:, :8], stain[:, 125:] = 100, 100, 100, 100
    return nuclei, (stain + np.random.default_rng(0).normal(0, 15, stain.shape)).astype(np.uint16)


def test_cells_meet_in_the_valley_of_the_stain_and_end_with_it() -> None:
    nuclei, stain = two_cells()
    cells = flooded(nuclei, [stain], factor=1, diameter_px=20, reach_px=60)
    assert (cells[20:80, 12:58] == 1).mean() > 0.99
    assert (cells[20:80, 67:120] == 2).mean() > 0.99
    assert (cells[:10] == 0).all()
    assert (cells[:, 132:] == 0).all()


def test_a_flood_ends_at_its_reach() -> None:
    nuclei, stain = two_cells()
    cells = flooded(nuclei, [stain, stain], factor=1, diameter_px=20, reach_px=9)
    away = np.hypot(*(np.mgrid[:100, :140] - np.array([50, 30])[:, None, None])) - 10
    assert not cells[(cells != 2) & (away > 10)].any()
    assert (cells[(away < 8)] == 1).all()


@pytest.mark.parametrize("reach", [0, 5])
def test_without_nuclei_there_are_no_cells(reach: float) -> None:
    none = np.zeros((30, 40), np.int32)
    stain = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    assert not nearest(none, reach_px=reach).any()
    assert not flooded(none, [stain], factor=1, diameter_px=10, reach_px=reach).any()


def test_a_nucleus_in_the_dark_keeps_its_own_pixels() -> None:
    nuclei, stain = two_cells()
    stain[:, 70:90] = 100
    cells = flooded(nuclei, [stain], factor=1, diameter_px=20, reach_px=60)
    assert (cells[nuclei == 2] == 2).all()
    assert (cells[nuclei == 1] == 1).all()
