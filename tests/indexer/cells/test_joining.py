"""Pieces of one nucleus go together, two nuclei do not; hulls against scikit-image, dents against a closing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from locatlas.indexer.cells.joining import closed, hull_area_px, joined
from tests.indexer.drawn_nuclei import discs


@given(mask=npst.arrays(np.bool_, (6, 7)).filter(np.any))
def test_the_hull_is_that_of_all_corners_of_all_pixels(mask: NDArray[np.bool_]) -> None:
    y, x = np.nonzero(mask)
    corners = np.concatenate([np.column_stack([y + dy, x + dx]) for dy in (0, 1) for dx in (0, 1)])
    assert hull_area_px(mask) == pytest.approx(ConvexHull(corners).volume)  # in two dimensions volume is the area


@given(mask=npst.arrays(np.bool_, (9, 10)))
def test_closing_is_a_dilation_and_an_erosion_by_a_disc_with_holes_filled(mask: NDArray[np.bool_]) -> None:
    reach = 2
    disc = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    room = ndimage.binary_closing(np.pad(mask, 8), disc)
    expected = ndimage.binary_fill_holes(room)[8:-8, 8:-8]
    np.testing.assert_array_equal(closed(mask, reach), expected)


def test_halves_of_a_nucleus_with_a_dark_band_go_together() -> None:
    whole = discs((60, 60), [(30, 30, 36)])
    pieces = np.where(whole > 0, 1, 0).astype(np.int32)
    pieces[:, 31:][whole[:, 31:] > 0] = 2
    pieces[:, 30:32] = 0
    found = joined(pieces, reach_px=6, largest_px=1.6 * 1018)
    assert found.max() == 1
    assert (found != whole).sum() < 0.02 * (whole > 0).sum()


def test_two_nuclei_side_by_side_stay_two() -> None:
    pair = discs((60, 100), [(30, 30, 36), (30, 67, 36)])
    np.testing.assert_array_equal(joined(pair, reach_px=6, largest_px=1e9), pair)


def test_what_would_be_larger_than_a_nucleus_stays_apart() -> None:
    halves = discs((60, 60), [(30, 30, 36)])
    halves[30:][halves[30:] > 0] = 2
    np.testing.assert_array_equal(joined(halves, reach_px=6, largest_px=900), halves)


def test_pieces_that_lie_apart_stay_apart() -> None:
    square = np.zeros((60, 60), np.int32)
    square[10:40, 10:22], square[10:40, 34:46] = 1, 2
    np.testing.assert_array_equal(joined(square, reach_px=4, largest_px=1e9), square)


def test_three_pieces_go_together_in_two_steps() -> None:
    whole = discs((60, 60), [(30, 30, 40)])
    pieces = whole.copy()
    pieces[(whole > 0) & (np.arange(60) >= 24)[None]] = 2
    pieces[(whole > 0) & (np.arange(60) >= 37)[None]] = 3
    np.testing.assert_array_equal(joined(pieces, reach_px=5, largest_px=2000), whole)


def test_no_labels_stay_none() -> None:
    assert not joined(np.zeros((8, 8), np.int32), reach_px=2, largest_px=10).any()
