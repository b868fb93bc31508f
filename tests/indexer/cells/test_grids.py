"""Coarse grids: sums, ranks and numbers against loops; noise against what was drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import block_reduce

from locatlas.indexer.cells.grids import coarsened, enlarged, exceeded_by, noise_sd, renumbered, smoothed
from tests.indexer.drawn_nuclei import discs


@given(
    plane=npst.arrays(np.uint16, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)),
    factor=st.integers(1, 4),
)
def test_blocks_are_summed_exactly_and_cut_blocks_repeat_the_last_line(plane: NDArray[np.uint16], factor: int) -> None:
    height, width = plane.shape
    rows = np.minimum(np.arange(-(-height // factor) * factor), height - 1)
    columns = np.minimum(np.arange(-(-width // factor) * factor), width - 1)
    whole = plane.astype(object)[np.ix_(rows, columns)]
    np.testing.assert_array_equal(coarsened(plane, factor), block_reduce(whole, (factor, factor), np.sum).astype(int))


def test_floats_are_cut_into_steps_between_their_ends() -> None:
    np.testing.assert_array_equal(coarsened(np.array([[-1.0, 0.0, 1.0]]), 1), [[0, 32768, 65535]])
    np.testing.assert_array_equal(coarsened(np.full((2, 2), 0.3), 1), np.zeros((2, 2)))


@given(plane=npst.arrays(np.int64, (4, 5), elements=st.integers(0, 9)), n_pixels=st.integers(-3, 25))
def test_the_value_that_some_pixels_exceed_is_that_of_the_sorted_plane(plane: NDArray[np.int64], n_pixels: int) -> None:
    ordered = sorted(plane.ravel().tolist(), reverse=True)
    assert exceeded_by(plane, n_pixels) == ordered[min(max(n_pixels, 0), 19)]


def test_smoothing_keeps_the_light_in_eighths() -> None:
    plane = np.zeros((41, 41), np.int64)
    plane[20, 20] = 100_000
    assert smoothed(plane, 2.0).sum() == pytest.approx(800_000, rel=1e-3)
    np.testing.assert_array_equal(smoothed(np.full((9, 9), 7, np.int64), 3.0), np.full((9, 9), 56))


@pytest.mark.parametrize("sd", [5.0, 80.0])
def test_noise_is_measured_under_nuclei_and_a_slope(sd: float, rng: np.random.Generator) -> None:
    slope = np.linspace(0, 3000, 200)[None] + np.zeros((200, 1))
    slope += ndimage.gaussian_filter(500.0 * (np.hypot(*np.mgrid[-100:100, -100:100]) < 40), 2.0)
    noisy = np.rint(slope + rng.normal(0, sd, slope.shape)).astype(np.int64)
    assert noise_sd(noisy) == pytest.approx(sd, rel=0.1)


def test_noise_of_a_single_line_is_none() -> None:
    assert noise_sd(np.arange(9, dtype=np.int64)[None]) == 0


@given(labels=npst.arrays(np.int32, (5, 6), elements=st.integers(0, 9)))
def test_numbers_run_from_one_in_the_order_of_first_pixels(labels: NDArray[np.int32]) -> None:
    order = [n for n in dict.fromkeys(labels.ravel().tolist()) if n]
    new, n = renumbered(labels)
    assert n == len(order)
    np.testing.assert_array_equal(new, np.vectorize({0: 0, **{old: i for i, old in enumerate(order, 1)}}.get)(labels))
    assert new.dtype == np.int32


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_enlarged_discs_are_about_discs_and_keep_their_numbers(factor: int) -> None:
    shape = (40 * factor - 1, 50 * factor - (factor > 1))
    small = discs((40, 50), [(12, 12, 16), (24, 34, 20)])
    large = enlarged(small[: -(-shape[0] // factor), : -(-shape[1] // factor)], factor, shape)
    middle = (factor - 1) / 2
    true = discs(
        shape,
        [
            (12 * factor + middle, 12 * factor + middle, 16 * factor),
            (24 * factor + middle, 34 * factor + middle, 20 * factor),
        ],
    )
    assert large.shape == shape
    for number in (1, 2):
        both = ((large == number) & (true == number)).sum() / ((large == number) | (true == number)).sum()
        assert both > 0.93


def test_borders_between_enlarged_labels_stay_where_the_blocks_are() -> None:
    small = np.zeros((6, 6), np.int32)
    small[:, :3], small[:, 3:] = 1, 2
    large = enlarged(small, 4, (24, 24))
    np.testing.assert_array_equal(large, np.repeat(np.repeat(small, 4, axis=0), 4, axis=1))
