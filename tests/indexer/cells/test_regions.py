"""Regions of label images against scikit-image's regionprops; packed masks; what a cell's digest covers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from skimage.measure import regionprops

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.regions import Region, cell_digest, pack, regions_of, unpack
from locatlas.models.crops import Place

FOV_DIGEST = "0f" * 16


@st.composite
def label_images(draw: st.DrawFn, *, highest: int = 9) -> NDArray[Any]:
    """A few rectangles over each other, in any type, numbered with holes; all of it may be one cell or none."""
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.int32, np.int64, np.uint32]))
    out = np.zeros((height, width), dtype=dtype)
    for _ in range(draw(st.integers(0, 6))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
        out[top:bottom, left:right] = draw(st.integers(0, min(highest, np.iinfo(dtype).max)))
    return out


def renumbered(labels: NDArray[Any], rise: int) -> NDArray[np.int64]:
    """The same cells under huge numbers in the same order."""
    return np.where(labels > 0, labels.astype(np.int64) + rise, 0)


@given(label_images(), st.sampled_from([0, 100, 2**40]))
def test_regions_are_those_of_regionprops(cells: NDArray[Any], rise: int) -> None:
    expected = regionprops(cells.astype(np.int64))
    got = regions_of(renumbered(cells, rise) if rise else cells)
    height, width = cells.shape
    assert [r.name for r in got] == [str(p.label + rise) for p in expected]
    for region, props in zip(got, expected, strict=True):
        place = region.place
        assert place.box == props.bbox
        assert region.area_px == props.area
        np.testing.assert_allclose(place.centroid, props.centroid, rtol=1e-6, atol=1e-6)
        assert place.mask is not None
        np.testing.assert_array_equal(place.mask, props.image)
        top, left, bottom, right = props.bbox
        assert place.touches_border == (top == 0 or left == 0 or bottom == height or right == width)
        assert place.nucleus_centroid is None
        assert (region.localizations, region.annotated_by) == (None, None)


@given(label_images(), st.data())
def test_a_cells_nucleus_has_its_number_or_else_lies_in_it(cells: NDArray[Any], data: st.DataObject) -> None:
    nuclei = data.draw(npst.arrays(np.uint16, cells.shape, elements=st.integers(0, 9)))
    for region in regions_of(cells, nuclei):
        own = (cells == int(region.name)) & (nuclei == int(region.name))
        inside = own if own.any() else (cells == int(region.name)) & (nuclei > 0)
        points = np.argwhere(inside)
        if len(points):
            assert region.place.nucleus_centroid == pytest.approx(tuple(points.mean(axis=0)), rel=1e-6)
        else:
            assert region.place.nucleus_centroid is None


def test_a_nucleus_number_that_its_type_cannot_hold_is_not_taken_for_another() -> None:
    cells = np.full((4, 4), 257, np.uint16)  # 257 is 1 in eight bits
    nuclei = np.zeros((4, 4), np.uint8)
    nuclei[0, 0], nuclei[3, 3] = 1, 2
    assert regions_of(cells, nuclei)[0].place.nucleus_centroid == (1.5, 1.5)


def test_touching_cells_stay_two_and_numbers_may_have_holes() -> None:
    cells = np.array([[0, 7, 7, 3], [0, 7, 3, 3]], np.uint8)
    three, seven = regions_of(cells)
    assert (three.name, three.place.box, three.area_px) == ("3", (0, 2, 2, 4), 3)
    assert (seven.name, seven.place.box, seven.area_px) == ("7", (0, 1, 2, 3), 3)
    assert three.place.mask is not None
    assert seven.place.mask is not None
    np.testing.assert_array_equal(three.place.mask, [[False, True], [True, True]])
    np.testing.assert_array_equal(seven.place.mask, [[True, True], [True, False]])


def test_no_cell_one_cell_and_a_cell_that_is_all_of_the_image() -> None:
    assert regions_of(np.zeros((5, 6), np.uint8)) == []
    assert regions_of(np.zeros((0, 6), np.uint8)) == []
    one = np.zeros((5, 6), np.uint8)
    one[2, 3] = 1
    (region,) = regions_of(one)
    assert (region.place.box, region.place.centroid, region.place.touches_border) == ((2, 3, 3, 4), (2.0, 3.0), False)
    for number in (1, 200):
        (region,) = regions_of(np.full((5, 6), number, np.uint8))
        assert (region.name, region.area_px, region.place.box) == (str(number), 30, (0, 0, 5, 6))
        assert region.place.touches_border


@pytest.mark.parametrize(
    ("cells", "nuclei", "reason"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), r"cell mask of shape \(4, 4\) and nuclei of \(4, 5\)"),
        (np.zeros((2, 4, 4), np.uint8), None, r"cell mask of shape \(2, 4, 4\): two of \(height, width\) needed"),
        (np.full((4, 4), -2, np.int32), None, "cell mask holds -2; cells have positive numbers"),
        (np.zeros((4, 4), np.float32), None, "cell mask holds float32; whole numbers needed"),
        (np.zeros((4, 4), np.bool_), None, "cell mask holds bool; whole numbers needed"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float64), "nucleus mask holds float64"),
    ],
)
def test_masks_that_mean_nothing_are_refused(cells: NDArray[Any], nuclei: NDArray[Any] | None, reason: str) -> None:
    with pytest.raises(ImageRejectedError, match=reason):
        regions_of(cells, nuclei)


def test_a_photograph_in_place_of_a_mask_is_refused(rng: np.random.Generator) -> None:
    photograph = rng.integers(0, 255, (64, 64), dtype=np.uint8)
    with pytest.raises(ImageRejectedError, match=r"boxes of its 25\d numbers cover the field \d+ times.*label image\?"):
        regions_of(photograph)
    # and without a list as long as its largest value
    with pytest.raises(ImageRejectedError, match="label image"):
        regions_of(rng.integers(0, 2**60, (64, 64), dtype=np.int64) // 2**52 * 2**52)


def test_many_small_cells_are_no_photograph() -> None:
    cells = np.arange(1, 64 * 64 + 1, dtype=np.uint16).reshape(64, 64)
    assert len(regions_of(cells)) == 64 * 64


@given(npst.arrays(np.bool_, st.tuples(st.integers(1, 30), st.integers(1, 30))), st.integers(0, 5))
def test_a_packed_mask_comes_back(mask: NDArray[np.bool_], offset: int) -> None:
    box = (offset, 2 * offset, offset + mask.shape[0], 2 * offset + mask.shape[1])
    got = unpack(pack(mask), box)
    assert got.dtype == np.bool_
    np.testing.assert_array_equal(got, mask)


def test_a_packed_mask_of_a_real_size_is_small() -> None:
    y, x = np.mgrid[-60:60, -60:60]
    assert len(pack(y**2 + x**2 < 55**2)) < 500


@given(npst.arrays(np.bool_, (9, 11)), st.data())
def test_damaged_bytes_give_a_mask_of_the_box_or_one_of_our_errors(
    mask: NDArray[np.bool_], data: st.DataObject
) -> None:
    packed = bytearray(pack(mask))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        got = unpack(bytes(packed), (0, 0, 9, 11))
    except ImageRejectedError:
        return
    assert got.shape == (9, 11)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda packed: b"", "has 0 bytes; 13 needed for 9 x 11 px"),
        (lambda packed: b"garbage", "the stored mask of the cell is damaged"),
        (lambda packed: packed[:6], "13 needed|damaged"),
        (lambda packed: pack(np.ones((30, 30), np.bool_)), "has 14 bytes; 13 needed"),
        (lambda packed: pack(np.ones((2, 2), np.bool_)), "has 1 bytes; 13 needed"),
    ],
)
def test_bytes_of_another_mask_are_refused(spoil: Callable[[bytes], bytes], reason: str) -> None:
    with pytest.raises(ImageRejectedError, match=reason):
        unpack(spoil(pack(np.ones((9, 11), np.bool_))), (0, 0, 9, 11))


def test_a_bit_that_was_flipped_in_the_mask_is_found_by_its_checksum() -> None:
    packed = bytearray(pack(np.random.default_rng(0).random((40, 40)) < 0.5))
    packed[-1] ^= 1  # of zlib's Adler-32
    with pytest.raises(ImageRejectedError, match="damaged"):
        unpack(bytes(packed), (0, 0, 40, 40))


def placed(**changes: Any) -> Place:
    mask = np.ones((2, 3), np.bool_)
    return replace(Place((1, 2, 3, 5), (1.5, 3.0), (1.0, 3.0), False, mask), **changes)


def test_each_part_that_decides_a_crop_changes_the_digest() -> None:
    other_mask = np.ones((2, 3), np.bool_)
    other_mask[0, 0] = False
    digests = [
        cell_digest(FOV_DIGEST, place)
        for place in (
            placed(),
            placed(box=(0, 2, 2, 5)),
            placed(box=(1, 2, 3, 6)),
            placed(centroid=(1.5, 3.25)),
            placed(nucleus_centroid=(1.0, 3.25)),
            placed(nucleus_centroid=None),
            placed(mask=other_mask),
            placed(mask=None),
        )
    ]
    digests.append(cell_digest("1f" * 16, placed()))
    assert len(set(digests)) == len(digests)
    assert all(len(d) == 32 and int(d, 16) >= 0 for d in digests)


def test_the_digest_stays() -> None:
    # stored atlases carry it: vectors of cells hold while it is the same
    assert cell_digest(FOV_DIGEST, placed()) == cell_digest(FOV_DIGEST, placed())
    assert cell_digest(FOV_DIGEST, placed()) == "4585631b60b171f33f1c5f370f2ced1d"


@given(label_images())
def test_the_digest_is_that_of_the_cell_read_back_from_the_store(cells: NDArray[Any]) -> None:
    regions: list[Region] = regions_of(cells, cells)
    assume(regions)
    for region in regions:
        place = region.place
        assert place.mask is not None
        y, x = (float(np.float32(v)) for v in place.centroid)  # columns are float32
        again = Place(
            place.box, (y, x), place.nucleus_centroid, place.touches_border, unpack(pack(place.mask), place.box)
        )
        assert cell_digest(FOV_DIGEST, again) == cell_digest(FOV_DIGEST, place)
