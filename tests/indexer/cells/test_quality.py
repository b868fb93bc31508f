"""Flags of cells by what was painted in them, and a sharpness that falls with blur and knows no gain."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.indexer.cells.quality import cell_quality, focus
from locatlas.indexer.cells.regions import Region, regions_of
from locatlas.models.crops import Place
from locatlas.models.qc import qc_flags
from locatlas.types import ChannelImage


def field(rng: np.random.Generator, dtype: str = "uint16") -> tuple[ChannelImage, Region, Region]:
    """A field with a round cell in its middle and one at its edge, both with a sharp nucleus and some noise."""
    y, x = np.mgrid[:90, :90]
    cells = np.zeros((90, 90), np.uint8)
    planes = np.full((2, 90, 90), 300.0)
    for number, (cy, cx) in enumerate(((45, 50), (60, 8)), start=1):
        distance = np.hypot(y - cy, x - cx)
        cells[distance < 20] = number
        planes[0] += 1500 * (distance < 9)
        planes[1] += 700 * (distance < 20)
    planes += rng.normal(0, 20, planes.shape)
    scaled = planes / 4095 if dtype == "float32" else planes * (255 / 4095 if dtype == "uint8" else 1)
    middle, edge = regions_of(cells)
    return ChannelImage(scaled.astype(dtype), ("nucleus", "protein")), middle, edge


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_cell_in_order_has_no_flags_and_one_at_the_edge_has_one(dtype: str, rng: np.random.Generator) -> None:
    image, middle, edge = field(rng, dtype)
    assert cell_quality(image, middle)[0] == ()
    assert cell_quality(image, edge)[0] == ("border",)


def test_what_is_wrong_outside_of_the_cell_is_not_its_flag(rng: np.random.Generator) -> None:
    image, middle, edge = field(rng)
    assert middle.place.mask is not None
    inside = np.zeros((90, 90), np.bool_)
    top, left, bottom, right = middle.place.box
    inside[top:bottom, left:right] = middle.place.mask
    around = image.pixels.copy()
    around[:, ~inside] = 65535
    assert cell_quality(ChannelImage(around, image.channels), middle)[0] == ()
    within = image.pixels.copy()
    within[1, inside] = 65535 * (np.arange(inside.sum()) % 2)
    within[0, inside] = 7
    spoiled = ChannelImage(within, image.channels)
    assert cell_quality(spoiled, middle)[0] == ("flat:nucleus", "saturated:protein")
    assert cell_quality(spoiled, edge)[0] == ("border",)


def test_a_cell_without_a_mask_is_judged_by_its_box(rng: np.random.Generator) -> None:
    image, middle, _ = field(rng)
    boxed = Region("1", Place((0, 0, 40, 40), (20.0, 20.0), None, True, None), None)
    image.pixels[1, :40, :40] = 500
    flags, sharpness = cell_quality(image, boxed)
    assert flags == ("border", "flat:protein")
    assert sharpness == focus(image.pixels[0, :40, :40])
    assert cell_quality(image, middle)[0] == ()


def test_of_a_cell_of_which_only_the_centre_is_known_nothing_is_told(rng: np.random.Generator) -> None:
    image, _, _ = field(rng)
    centre = Region("1", Place((30, 40, 31, 41), (30.0, 40.0), None, False, None), None)
    assert cell_quality(image, centre) == ((), None)


@given(
    npst.arrays(np.float32, (2, 6, 5), elements=st.floats(-0.5, 1.5, width=32) | st.just(np.nan)),
    st.sampled_from(["float32", "uint8"]),
)
def test_a_cell_as_large_as_its_image_has_the_flags_of_the_image(pixels: NDArray[Any], dtype: str) -> None:
    if dtype == "uint8":
        pixels = (np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    image = ChannelImage(pixels, ("nucleus", "protein"))
    (region,) = regions_of(np.ones((6, 5), np.uint8))
    assert set(cell_quality(image, region)[0]) == {*qc_flags(image), "border"} - {"tiny"}


def test_focus_is_that_of_the_nucleus_or_of_the_protein_or_none(rng: np.random.Generator) -> None:
    image, middle, _ = field(rng)
    top, left, bottom, right = middle.place.box
    expected = [focus(plane[top:bottom, left:right], middle.place.mask) for plane in image.pixels]
    assert cell_quality(image, middle)[1] == expected[0]
    assert cell_quality(ChannelImage(image.pixels[::-1].copy(), ("protein", "nucleus")), middle)[1] == expected[0]
    assert cell_quality(ChannelImage(image.pixels, ("er", "protein")), middle)[1] == expected[1]
    assert cell_quality(ChannelImage(image.pixels, ("er", "microtubules")), middle)[1] is None


@pytest.mark.parametrize("noise", [0.0, 5.0])
@pytest.mark.parametrize("masked", [False, True])
def test_blur_makes_it_fall(noise: float, masked: bool, rng: np.random.Generator) -> None:
    y, x = np.mgrid[:80, :80]
    sharp = (
        200.0
        + 1500 * (np.hypot(y - 40, x - 38) < 16)
        + 300 * (ndimage.gaussian_filter(rng.normal(size=(80, 80)), 1) > 0)
    )
    mask = np.hypot(y - 40, x - 40) < 35 if masked else None
    found = []
    for sigma in (0, 1, 2, 4, 6):
        blurred = ndimage.gaussian_filter(sharp, sigma) if sigma else sharp
        found.append(focus((blurred + rng.normal(0, noise, sharp.shape)).astype(np.float32), mask))
    assert all(value is not None for value in found)
    assert found == sorted(found, key=float, reverse=True)
    assert found[0] > 3 * found[2]


@given(st.floats(0.01, 100), st.floats(-1000, 1000), st.integers(0, 100))
def test_neither_gain_nor_offset_of_the_camera_change_it(gain: float, offset: float, seed: int) -> None:
    plane = np.random.default_rng(seed).normal(500, 100, (24, 31))
    expected = focus(plane)
    assert expected is not None
    assert focus(gain * plane + offset) == pytest.approx(expected, rel=1e-6)


def test_it_is_the_formula_by_another_path(rng: np.random.Generator) -> None:
    plane = rng.integers(0, 4000, (31, 44), dtype=np.uint16)
    halved = np.array([[plane[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(22)] for i in range(15)])
    inner = (slice(1, -1), slice(1, -1))
    laplacian = -ndimage.laplace(halved)[inner]
    assert focus(plane) == pytest.approx(laplacian.var() / halved[inner].var())
    mask = rng.random(plane.shape) < 0.6
    # a halved pixel counts where its first one does
    chosen = np.array([[mask[2 * i, 2 * j] for j in range(22)] for i in range(15)])[inner]
    assert focus(plane, mask) == pytest.approx(laplacian[chosen].var() / halved[inner][chosen].var())


def test_white_noise_has_twenty() -> None:
    noise = np.random.default_rng(3).normal(size=(600, 600))
    assert focus(noise) == pytest.approx(20, rel=0.03)  # 4 * 4 + 4 * 1 * 1


@pytest.mark.parametrize(
    "plane",
    [
        np.full((40, 40), 7, np.uint16),
        np.full((40, 40), 0.1),
        np.zeros((0, 5), np.uint8),
        np.arange(25, dtype=np.uint8).reshape(5, 5),
        np.arange(8 * 300, dtype=np.uint16).reshape(300, 8)[:, :5],
        np.where(np.eye(40), np.nan, 1.0),
        np.where(np.eye(40), np.inf, 1.0),
    ],
)
def test_where_it_is_not_defined_there_is_none(plane: NDArray[Any]) -> None:
    assert focus(plane) is None


def test_a_mask_of_few_pixels_has_none_and_the_image_is_left_alone(rng: np.random.Generator) -> None:
    plane = rng.integers(0, 4000, (40, 40), dtype=np.uint16)
    before = plane.copy()
    mask = np.zeros((40, 40), np.bool_)
    mask[10:16, 10:16] = True  # nine of the halved image
    assert focus(plane, mask) is None
    mask[10:20, 10:20] = True
    assert focus(plane, mask) is not None
    np.testing.assert_array_equal(plane, before)


def test_bright_surroundings_of_an_even_cell_give_a_number_that_can_be_stored() -> None:
    plane = np.full((40, 40), 1.0, np.float64)
    plane[20, 20] += 1e-12
    plane[:, :10] = 1e30
    mask = np.zeros((40, 40), np.bool_)
    mask[:, 10:] = True
    assert focus(plane, mask) == 64.0
