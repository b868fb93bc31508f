"""Crops of cells against a padded field cut by plain indexing, and what the plans allow."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError, InputError, LocatlasError, UnknownNameError
from locatlas.models.crops import PRESETS, CropPlan, Place, cut, default_crop, window
from locatlas.types import ChannelImage

FAR = 64  # wider than any crop below: the oracle's margin


def field(height: int, width: int, *, dtype: type = np.uint16, pixel_size_um: float | None = None) -> ChannelImage:
    """Two channels of which no pixel is zero and no two are equal."""
    pixels = np.arange(1, 2 * height * width + 1).reshape(2, height, width).astype(dtype)
    return ChannelImage(pixels, ("nucleus", "protein"), pixel_size_um)


def place_of(
    mask: NDArray[np.bool_], *, nucleus: tuple[float, float] | None = None, keep_mask: bool = True
) -> tuple[Place, NDArray[np.bool_]]:
    """The place of a cell whose mask over its field is given, worked out pixel by pixel."""
    found = [(y, x) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    rows, columns = [y for y, _ in found], [x for _, x in found]
    box = (min(rows), min(columns), max(rows) + 1, max(columns) + 1)
    centroid = (sum(rows) / len(rows), sum(columns) / len(columns))
    touches = box[0] == 0 or box[1] == 0 or box[2] == mask.shape[0] or box[3] == mask.shape[1]
    inside = mask[box[0] : box[2], box[1] : box[3]] if keep_mask else None
    return Place(box, centroid, nucleus, touches, inside), mask


@st.composite
def cells(draw: st.DrawFn) -> tuple[ChannelImage, Place, NDArray[np.bool_]]:
    """A small field with a blob somewhere, perhaps cut by the edge, perhaps all of it."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[top:bottom, left:right] = True
    if draw(st.booleans()):
        mask[top, left] = mask.sum() == 1  # a corner less, so that the mask is not its box
    nucleus = draw(st.none() | st.tuples(st.floats(0, height - 1), st.floats(0, width - 1)))
    place, mask = place_of(mask, nucleus=nucleus)
    return field(height, width, dtype=draw(st.sampled_from([np.uint16, np.float32]))), place, mask


plans = st.builds(
    CropPlan,
    size_px=st.integers(1, 30),
    centre=st.sampled_from(["cell", "nucleus"]),
    blank=st.booleans(),
    border=st.sampled_from(["pad", "shift", "drop"]),
)


def by_hand(image: ChannelImage, place: Place, plan: CropPlan, mask: NDArray[np.bool_]) -> NDArray[Any]:
    """The crop out of a field in a wide margin of zeros."""
    pixels = image.pixels * mask if plan.blank else image.pixels
    wide = np.pad(pixels, ((0, 0), (FAR, FAR), (FAR, FAR)))
    edge = plan.size_px
    assert edge is not None
    y, x = place.nucleus_centroid if plan.centre == "nucleus" and place.nucleus_centroid else place.centroid
    first = []
    for middle, length in zip((y, x), image.pixels.shape[1:], strict=True):
        # of all squares the one whose middle is nearest to the cell's; of two that are equally near the lower right
        start = min(range(-FAR, FAR), key=lambda s: (abs(s + (edge - 1) / 2 - middle), -s))
        if plan.border == "shift":
            start = 0 if edge >= length else min(max(start, 0), length - edge)
        first.append(start + FAR)
    return wide[:, first[0] : first[0] + edge, first[1] : first[1] + edge]


@given(cells(), plans)
def test_a_crop_is_what_is_cut_by_hand_from_a_padded_field(case: Any, plan: CropPlan) -> None:
    image, place, mask = case
    before = image.pixels.copy()
    got = cut(image, place, plan)
    np.testing.assert_array_equal(got.pixels, by_hand(image, place, plan, mask))
    assert got.pixels.dtype == image.pixels.dtype
    assert (got.channels, got.pixel_size_um) == (image.channels, image.pixel_size_um)
    np.testing.assert_array_equal(image.pixels, before)


@given(cells(), plans)
def test_a_window_tells_what_was_done_at_the_border(case: Any, plan: CropPlan) -> None:
    image, place, _ = case
    height, width = image.pixels.shape[1:]
    at = window(place, plan, height=height, width=width, pixel_size_um=None)
    inside = at.top >= 0 and at.left >= 0 and at.top + at.edge <= height and at.left + at.edge <= width
    filled = (cut(image, place, CropPlan(**{**plan.to_dict(), "blank": False})).pixels == 0).any()
    unmoved = window(
        place, CropPlan(**{**plan.to_dict(), "border": "pad"}), height=height, width=width, pixel_size_um=1
    )
    assert ("padded" in at.flags) == (not inside) == filled
    assert ("shifted" in at.flags) == (plan.border == "shift" and "padded" in unmoved.flags)
    assert at.dropped == (plan.border == "drop" and (not inside or place.touches_border))
    assert at.flags == tuple(sorted(at.flags))


@pytest.mark.parametrize(
    ("y", "edge", "top"),
    [
        (10.0, 1, 10),
        (10.0, 3, 9),  # an odd edge has the centre's pixel in the middle
        (10.4, 3, 9),
        (10.5, 3, 10),  # half up
        (10.0, 4, 9),  # an even edge has its middle between two pixels: 9, 10, 11, 12 has it at 10.5
        (10.5, 4, 9),
        (9.99, 4, 8),
        (0.0, 3, -1),
    ],
)
def test_even_and_odd_squares_lie_around_their_centre(y: float, edge: int, top: int) -> None:
    place = Place((0, 0, 20, 20), (y, y), None, True, None)
    at = window(place, CropPlan(size_px=edge), height=20, width=20, pixel_size_um=None)
    assert (at.top, at.left, at.edge) == (top, top, edge)


def test_a_place_has_the_coordinates_that_the_store_gives_back() -> None:
    # its square must not move by a pixel because 10.4999999 is stored as 10.5
    place = Place((0, 0, 20, 20), (10.4999999, 0.1), (10.4999999, 0.2), True, None)
    assert place.centroid == (10.5, float(np.float32(0.1)))
    assert place.nucleus_centroid == (10.5, float(np.float32(0.2)))
    again = Place(place.box, place.centroid, place.nucleus_centroid, True, None)
    at = [window(p, CropPlan(size_px=3), height=20, width=20, pixel_size_um=None) for p in (place, again)]
    assert at[0] == at[1]


def test_the_nucleus_is_the_centre_where_it_is_asked_for_and_known() -> None:
    image = field(20, 20)
    here, unknown = (Place((2, 2, 18, 18), (9.0, 9.0), nucleus, False, None) for nucleus in ((5.0, 12.0), None))
    around_nucleus, around_cell = CropPlan(size_px=3, centre="nucleus"), CropPlan(size_px=3)
    np.testing.assert_array_equal(cut(image, here, around_nucleus).pixels, image.pixels[:, 4:7, 11:14])
    for place, plan in ((here, around_cell), (unknown, around_nucleus)):
        np.testing.assert_array_equal(cut(image, place, plan).pixels, image.pixels[:, 8:11, 8:11])


@pytest.mark.parametrize("border", ["pad", "shift"])
def test_a_cell_as_large_as_the_image_is_cut_whole(border: Any) -> None:
    image = field(7, 7)
    place, _ = place_of(np.ones((7, 7), np.bool_))
    assert place.touches_border
    for blank in (False, True):
        got = cut(image, place, CropPlan(size_px=7, border=border, blank=blank))
        np.testing.assert_array_equal(got.pixels, image.pixels)
    assert window(place, CropPlan(size_px=7, border="drop"), height=7, width=7, pixel_size_um=None).dropped


@pytest.mark.parametrize("border", ["pad", "shift"])
def test_a_field_smaller_than_the_crop_is_filled_with_zeros_around_it(border: Any) -> None:
    image = field(4, 9)
    place = Place((1, 1, 3, 3), (1.5, 1.5), None, False, None)
    got = cut(image, place, CropPlan(size_px=8, border=border))
    at = window(place, CropPlan(size_px=8, border=border), height=4, width=9, pixel_size_um=None)
    assert "padded" in at.flags
    # pad: rows -2 to 5 and columns -2 to 5; shift: rows 0 to 7, which leave the field below, and columns 0 to 7
    offset, columns = (2, 6) if border == "pad" else (0, 8)
    expected = np.zeros((2, 8, 8), np.uint16)
    expected[:, offset : offset + 4, offset : offset + columns] = image.pixels[:, :, :columns]
    np.testing.assert_array_equal(got.pixels, expected)


def test_a_square_beside_the_field_is_all_zeros() -> None:
    # a centre from a table can lie anywhere
    place = Place((0, 0, 1, 1), (50.0, -30.0), None, True, None)
    assert not cut(field(6, 6), place, CropPlan(size_px=5)).pixels.any()
    shifted = cut(field(6, 6), place, CropPlan(size_px=5, border="shift")).pixels
    np.testing.assert_array_equal(shifted, field(6, 6).pixels[:, 1:, :5])


def test_blanking_keeps_the_cell_and_nothing_else_though_the_rest_is_not_finite() -> None:
    image = field(8, 8, dtype=np.float32)
    mask = np.zeros((8, 8), np.bool_)
    mask[2:5, 2:4] = mask[4, 4] = True
    image.pixels[:, ~mask] = np.nan
    place, _ = place_of(mask)
    got = cut(image, place, CropPlan(size_px=8, border="shift", blank=True)).pixels
    np.testing.assert_array_equal(got[:, mask], image.pixels[:, mask])
    assert not got[:, ~mask].any()


def test_neighbors_cannot_be_blanked_where_there_is_no_mask() -> None:
    place = Place((2, 2, 4, 4), (3.0, 3.0), None, False, None)
    with pytest.raises(ImageRejectedError, match="cannot be blanked: only a box or a centre of the cell is known"):
        cut(field(8, 8), place, CropPlan(size_px=4, blank=True))


@pytest.mark.parametrize(("pixel_size_um", "edge"), [(0.1, 100), (0.25, 40), (3.0, 3), (100.0, 1)])
def test_micrometres_become_pixels_of_the_field(pixel_size_um: float, edge: int) -> None:
    plan = CropPlan(size_um=10.0)
    assert plan.edge_px(pixel_size_um) == edge
    assert cut(
        field(9, 9, pixel_size_um=pixel_size_um), Place((0, 0, 9, 9), (4, 4), None, True, None), plan
    ).pixels.shape == (
        2,
        edge,
        edge,
    )


def test_a_size_in_micrometres_needs_the_pixel_size_and_says_how_to_give_it() -> None:
    with pytest.raises(ImageRejectedError, match=r"10 um needs the pixel size.* --pixel-size UM, .* --crop 100px"):
        CropPlan(size_um=10.0).edge_px(None)
    assert CropPlan(size_px=100).edge_px(None) == 100


@pytest.mark.parametrize(
    ("plan", "pixel_size_um"),
    [(CropPlan(size_px=8193), None), (CropPlan(size_um=41.0), 41 / 8193), (CropPlan(size_um=41.0), 1e-308)],
)
def test_a_huge_crop_is_refused_before_memory_is_asked_for(plan: CropPlan, pixel_size_um: float | None) -> None:
    with pytest.raises(
        ImageRejectedError, match=r"(8193 px|41 um) has more than 8192 px an edge; is the pixel size right"
    ):
        plan.edge_px(pixel_size_um)
    assert CropPlan(size_px=8192).edge_px(None) == 8192


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "exactly one of them"),
        ({"size_um": 1.0, "size_px": 1}, "exactly one of them"),
        ({"size_um": 0}, "crop size 0: a positive number needed"),
        ({"size_um": math.inf}, "crop size inf"),
        ({"size_um": math.nan}, "crop size nan"),
        ({"size_um": True}, "crop size True"),
        ({"size_px": -3}, "crop size -3: a positive whole number needed"),
        ({"size_px": 2.0}, "crop size 2.0: a positive whole number needed"),
        ({"size_px": "2"}, "crop size '2'"),
        ({"size_px": 2, "blank": 1}, "crop blank 1, allowed: True, False"),
        ({"size_px": 2, "centre": "middle"}, "crop centre 'middle', allowed: cell, nucleus"),
        ({"size_px": 2, "border": "mirror"}, "crop border 'mirror', allowed: pad, shift, drop"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        CropPlan(**fields)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("41um", CropPlan(size_um=41.0)),
        (" 41.5 µm ", CropPlan(size_um=41.5)),
        ("41.5\u03bcm", CropPlan(size_um=41.5)),
        ("100 px", CropPlan(size_px=100)),
        # 512 x 0.0800885
        ("dino4cells", CropPlan(size_um=41.005, blank=True)),
        ("subcell", CropPlan(size_um=51.257)),
        ("subcell-training", CropPlan(size_um=82.011)),
        # 256 and 100 x 0.206349
        ("opencell", CropPlan(size_um=52.825, centre="nucleus")),
        ("cytoself", CropPlan(size_um=20.635, centre="nucleus")),
    ],
)
def test_plans_are_named_or_written_with_their_unit(text: str, plan: CropPlan) -> None:
    assert CropPlan.parse(text) == plan


@pytest.mark.parametrize("text", ["", "41", "um", "-3px", "1.5px", "1e3um", "41 mm", "dino", "٣px", "9" * 5000 + "px"])
def test_text_that_names_no_crop_lists_what_does(text: str) -> None:
    with pytest.raises(UnknownNameError, match=r"known: .*dino4cells.*subcell"):
        CropPlan.parse(text)


def test_a_crop_of_nothing_is_refused_by_its_size() -> None:
    for text in ("0px", "0um", "0.0um"):
        with pytest.raises(InputError, match="positive"):
            CropPlan.parse(text)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_the_published_number_of_pixels_at_its_own_scale(name: str) -> None:
    published: dict[str, tuple[int, float]] = {
        "dino4cells": (512, 0.0800885),
        "subcell": (640, 0.0800885),
        "subcell-training": (1024, 0.0800885),
        "opencell": (256, 0.206349),
        "cytoself": (100, 0.206349),
    }
    edge, pixel_size_um = published[name]
    assert CropPlan.parse(name).edge_px(pixel_size_um) == edge


@pytest.mark.parametrize(
    ("encoder", "plan"),
    [
        ("vit_base_patch16.hpa_cell_dino4cells", CropPlan.parse("dino4cells")),
        ("subcell_vit_base_patch16.rybg", CropPlan.parse("subcell")),
        ("vit_small_patch16_224.dino", CropPlan(size_um=41.005)),
        ("locatlas_pico.untrained", CropPlan(size_um=41.005)),
    ],
)
def test_an_encoder_has_the_crop_that_it_was_published_with(encoder: str, plan: CropPlan) -> None:
    assert default_crop(encoder) == plan


def test_a_plan_says_in_words_what_it_does() -> None:
    assert str(CropPlan.parse("dino4cells")) == "41.005 um around the cell, pad at the border, neighbors blanked"
    assert str(CropPlan(size_px=64, centre="nucleus", border="drop")) == "64 px around the nucleus, drop at the border"


@given(st.one_of(st.floats(allow_nan=True), st.integers(-5, 5), st.text(max_size=3), st.none()))
def test_a_size_gives_a_plan_or_one_of_our_errors(size: Any) -> None:
    make: Callable[..., CropPlan]
    for make in (lambda: CropPlan(size_um=size), lambda: CropPlan(size_px=size), lambda: CropPlan.parse(str(size))):
        try:
            plan = make()
        except LocatlasError:
            continue
        assert plan == CropPlan(**plan.to_dict())
