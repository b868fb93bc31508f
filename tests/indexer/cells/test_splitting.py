"""Masks come apart at necks and nowhere else; holes and specks by hand and by scikit-image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from skimage.morphology import remove_small_holes

from locatlas.indexer.cells.splitting import borders_between, filled, inscribed_radii, softened, split
from tests.indexer.drawn_nuclei import discs


def test_two_discs_that_touch_come_apart_at_their_neck() -> None:
    true = discs((50, 90), [(25, 27, 36), (25, 62, 36)])
    found = split(true > 0, neck=0.75, blur_px=1.5)
    assert found.max() == 2
    assert (found != true).sum() < 0.03 * (true > 0).sum()
    assert ((found > 0) == (true > 0)).all()


def test_discs_come_apart_where_their_neck_is_narrower_than_the_share_of_the_smaller_one() -> None:
    def n_parts(apart: float, neck: float) -> int:
        return int(split(discs((60, 120), [(30, 35, 40), (30, 35 + apart, 40)]) > 0, neck=neck, blur_px=1.5).max())

    # the neck of two discs of radius 20 at a distance d is sqrt(400 - d * d / 4) wide on each side of its middle
    narrow, wide = 2 * np.sqrt(400 - 10**2), 2 * np.sqrt(400 - 17**2)  # distances at which it is 0.5 and 0.85 of 20
    assert [n_parts(narrow + 1, 0.5), n_parts(narrow - 3, 0.5)] == [2, 1]
    assert wide < narrow
    assert [n_parts(narrow - 3, 0.75), n_parts(wide - 1, 0.75)] == [2, 1]


@pytest.mark.parametrize("shape", ["disc", "ellipse", "square", "whole"])
def test_a_convex_object_stays_one(shape: str) -> None:
    y, x = np.mgrid[-40:41, -40:41]
    mask = {
        "disc": np.hypot(y, x) < 30,
        "ellipse": np.hypot(y / 15, x / 38) < 1,
        "square": (abs(y) < 25) & (abs(x) < 25),
        "whole": y < 99,
    }[shape]
    found = split(mask, neck=0.75, blur_px=2.0)
    np.testing.assert_array_equal(found, mask.astype(np.int32))


def test_nothing_is_split_into_nothing() -> None:
    assert not split(np.zeros((9, 9), np.bool_), neck=0.75, blur_px=1.0).any()


def test_inscribed_radii_are_those_of_the_discs() -> None:
    labels = discs((70, 110), [(20, 20, 30), (40, 75, 50)])
    np.testing.assert_allclose(inscribed_radii(labels, 2), [15, 25], atol=1)


def test_borders_are_where_the_right_or_lower_neighbor_is_another() -> None:
    labels = np.array([[1, 1, 2], [1, 0, 2], [3, 3, 2]], np.int32)
    expected = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 0]], np.bool_)
    np.testing.assert_array_equal(borders_between(labels), expected)


@given(inner=npst.arrays(np.bool_, (8, 9)), largest=st.integers(0, 12))
def test_holes_up_to_a_size_are_filled_as_scikit_image_does(inner: NDArray[np.bool_], largest: int) -> None:
    mask = np.pad(inner, 1)  # holes at the edge are none here, and are not filled by either
    outside = np.pad(np.zeros_like(inner), 1, constant_values=True)
    expected = remove_small_holes(np.pad(mask, 9), max_size=largest)[9:-9, 9:-9] & ~outside | mask
    np.testing.assert_array_equal(filled(mask, largest), expected)


def test_a_gap_at_the_edge_of_the_field_is_no_hole() -> None:
    mask = np.ones((7, 7), np.bool_)
    mask[0, 3] = mask[3, 3] = False
    expected = np.ones((7, 7), np.bool_)
    expected[0, 3] = False
    np.testing.assert_array_equal(filled(mask, 5), expected)


def test_specks_go_and_discs_stay() -> None:
    mask = discs((60, 60), [(30, 30, 30)]) > 0
    speckled = mask.copy()
    speckled[5, 5] = speckled[50, 8] = True
    speckled[30, 30] = False
    soft = softened(speckled, 24)
    assert (soft != mask).sum() < 12
    assert not soft[5, 5]
    assert soft[30, 30]
