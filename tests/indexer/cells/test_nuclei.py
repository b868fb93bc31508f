"""Nuclei of drawn discs: one, touching ones, bright beside dim, none in noise; the scale against the drawing."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.agreement import agreement, overlaps
from locatlas.indexer.cells.grids import enlarged
from locatlas.indexer.cells.nuclei import NucleusParameters, find_nuclei, nucleus_plane, usual_diameter_px
from locatlas.types import ChannelImage
from tests.indexer.drawn_nuclei import discs, field, plane
from tests.quick import some

DEFAULT = NucleusParameters()


def found_in(nucleus: NDArray[np.generic], diameter_px: float | None = 30) -> NDArray[np.int32]:
    """Labels on the grid of the field; None: the diameter is estimated."""
    coarse = find_nuclei(nucleus, None, NucleusParameters(diameter_px=diameter_px))
    return enlarged(coarse.labels, coarse.factor, (nucleus.shape[0], nucleus.shape[1]))


@pytest.mark.parametrize(
    ("kind", "pixel_size_um"),
    # each kind once
    some(itertools.product(["counts", "shot", "floats", "textured", "sloping"], [None, 0.5]), 0, 3, 4, 7, 8),
)
def test_a_field_of_noise_has_no_nuclei(kind: str, pixel_size_um: float | None, rng: np.random.Generator) -> None:
    noise = rng.normal(0, 1, (300, 320))
    nucleus = {
        "counts": (500 + 30 * noise).astype(np.uint16),
        "shot": rng.poisson(3.0, noise.shape).astype(np.uint8),
        "floats": (0.1 + 0.01 * noise).astype(np.float32),
        "textured": (500 + 300 * ndimage.gaussian_filter(noise, 4) + 10 * noise).astype(np.uint16),
        "sloping": (500 + 5 * np.arange(320)[None] + 30 * noise).astype(np.uint16),
    }[kind]
    assert find_nuclei(nucleus, pixel_size_um, DEFAULT).labels.max() == 0


def test_one_nucleus_is_found_where_it_is() -> None:
    true = discs((120, 130), [(60, 70, 30)])
    found = found_in(plane(true))
    assert found.max() == 1
    assert overlaps(true, found)[0, 0] > 0.9


def test_a_nucleus_as_large_as_the_field_is_found() -> None:
    true = discs((100, 100), [(49.5, 49.5, 104)])
    for diameter_px in (100, None):
        found = found_in(plane(true), diameter_px)
        assert found.max() == 1
        assert overlaps(true, found)[0, 0] > 0.8


def test_two_discs_that_touch_come_apart() -> None:
    true = discs((100, 130), [(50, 45, 30), (50, 75, 30)])
    score = agreement([(true, found_in(plane(true)))])
    assert (score.n_found, score.n_matched) == (2, 2)
    assert score.mean_iou > 0.85


def test_a_bright_and_a_dim_nucleus_side_by_side_both_keep_their_size() -> None:
    true = discs((100, 140), [(50, 45, 30), (50, 82, 30)])
    found = found_in(plane(true, light=[8000, 1600]))
    areas = np.bincount(found.ravel())[1:]
    assert len(areas) == 2
    np.testing.assert_allclose(areas, np.pi / 4 * 30**2, rtol=0.2)


def test_debris_is_left_out_and_counts_where_it_is_asked_for() -> None:
    true = discs((120, 140), [(60, 40, 30), (30, 100, 9), (90, 100, 30)])
    nucleus = plane(true)
    assert found_in(nucleus).max() == 2
    coarse = find_nuclei(nucleus, None, NucleusParameters(diameter_px=30, smallest=0.04))
    assert coarse.labels.max() == 3


def test_a_nucleus_at_the_edge_may_be_half_as_small() -> None:
    true = discs((90, 140), [(45, 0, 18), (45, 60, 13)])  # half a disc of 18 px is smaller than one of 13
    found = find_nuclei(plane(true), None, NucleusParameters(diameter_px=30, smallest=0.22)).labels
    assert found.max() == 1
    assert found[45, 2] == 1


@settings(max_examples=15, deadline=None)
@given(gain=st.integers(1, 8), offset=st.integers(0, 20_000), seed=st.integers(0, 3))
def test_gain_and_offset_of_the_camera_change_nothing(gain: int, offset: int, seed: int) -> None:
    true = discs((110, 140), [(40, 40, 30), (45, 72, 30), (80, 110, 26)])
    nucleus = plane(true, light=[4000, 2500, 1500], seed=seed)
    for pixel_size_um in (None, 0.5):
        plain = find_nuclei(nucleus, pixel_size_um, DEFAULT)
        other = find_nuclei((nucleus.astype(np.uint32) * gain + offset).astype(np.uint16), pixel_size_um, DEFAULT)
        assert plain.labels.max() >= 2
        # values are rounded to eighths after smoothing: a pixel on an outline may fall to the other side
        assert (plain.labels != other.labels).mean() < 0.001


@pytest.mark.parametrize("diameter", [16, 30, 60, 110])
@pytest.mark.parametrize("seed", some([0, 1], 0))
def test_the_usual_diameter_is_estimated_within_a_fifth(diameter: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edge = 8 * diameter
    grid = [(row, column) for row in range(1, 8, 2) for column in range(1, 8, 2)]
    places = [
        (
            row * diameter + rng.uniform(-0.3, 0.3) * diameter,
            column * diameter + rng.uniform(-0.3, 0.3) * diameter,
            size,
        )
        for (row, column), size in zip(grid, diameter * rng.uniform(0.85, 1.15, len(grid)), strict=True)
    ]
    nucleus = plane(discs((edge, edge), places), light=4000 * rng.uniform(0.4, 1, len(places)))
    estimate = usual_diameter_px(nucleus)
    assert estimate == pytest.approx(np.median([size for _, _, size in places]), rel=0.2)


def test_diameters_come_from_pixels_then_from_the_pixel_size_then_from_the_field() -> None:
    nucleus = plane(discs((90, 90), [(45, 45, 30)]))
    assert find_nuclei(nucleus, 0.25, NucleusParameters(diameter_px=33)).diameter_px == 33
    assert find_nuclei(nucleus, 0.25, NucleusParameters(diameter_um=12)).diameter_px == 48
    assert find_nuclei(nucleus, None, DEFAULT).diameter_px == usual_diameter_px(nucleus) == pytest.approx(30, rel=0.2)


@pytest.mark.parametrize(("diameter_px", "factor"), [(12, 1), (43, 1), (44, 2), (110, 5)])
def test_large_nuclei_are_found_on_blocks(diameter_px: float, factor: int) -> None:
    nucleus = plane(discs((200, 203), [(100, 100, diameter_px)]))
    coarse = find_nuclei(nucleus, None, NucleusParameters(diameter_px=diameter_px))
    assert coarse.factor == factor
    assert coarse.labels.shape == (-(-200 // factor), -(-203 // factor))
    assert coarse.labels.max() == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (7, 3), (12, 12)])
def test_fields_too_small_for_a_nucleus_have_none(shape: tuple[int, int], rng: np.random.Generator) -> None:
    nucleus = rng.integers(0, 9, shape).astype(np.uint8)
    assert find_nuclei(nucleus, None, DEFAULT).labels.max() == 0
    assert find_nuclei(nucleus, 0.1, DEFAULT).labels.max() == 0


def test_what_is_no_plane_of_nuclei_is_refused_with_the_channels_that_there_are() -> None:
    flat = np.full((9, 9), 7, np.uint8)
    with pytest.raises(ImageRejectedError, match="no channel nucleus among protein, er"):
        nucleus_plane(ChannelImage(np.stack([flat, flat]), ("protein", "er")))
    with pytest.raises(ImageRejectedError, match="channel nucleus is flat: all pixels are 7"):
        nucleus_plane(field(flat))
    bad = np.zeros((9, 9), np.float32)
    bad[1:, 1] = np.nan
    with pytest.raises(ImageRejectedError, match="channel protein has 8 NaN or infinite pixels of 81"):
        nucleus_plane(field(np.eye(9, dtype=np.float32), protein=bad))
    with pytest.raises(ImageRejectedError, match="no pixels"):
        nucleus_plane(field(np.zeros((0, 4), np.uint8)))
