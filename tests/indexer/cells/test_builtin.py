"""The built-in segmenter as a whole: made fields of both looks, numbers, threads, mirrors, and what it refuses."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.agreement import agreement
from locatlas.indexer.cells.builtin import Segmentation, numbered, segment_builtin
from locatlas.indexer.cells.nuclei import NucleusParameters
from locatlas.indexer.synthetic.classes import CLASSES
from locatlas.indexer.synthetic.fov import DrawnFov, draw_hpa, draw_opencell
from locatlas.indexer.synthetic.looks import LOOKS
from locatlas.indexer.synthetic.proteins import make_proteins
from locatlas.types import ChannelImage
from tests.indexer.drawn_nuclei import discs, field, plane
from tests.quick import some

DEFAULT = NucleusParameters()
SIZES = {"opencell": 420, "hpa": 512}


@pytest.fixture(scope="module")
def made() -> dict[str, list[DrawnFov]]:
    """Three made fields in each look, of three localizations."""
    proteins = make_proteins(CLASSES, 1, 7)[::5][:3]
    draw = {"opencell": draw_opencell, "hpa": draw_hpa}
    return {
        look: [draw[look](protein, SIZES[look], np.random.default_rng(i)) for i, protein in enumerate(proteins)]
        for look in draw
    }


def image_of(drawn: DrawnFov, look: str, *, known: bool = True) -> ChannelImage:
    return ChannelImage(drawn.pixels, drawn.channels, LOOKS[look].pixel_um if known else None)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("look", ["opencell", "hpa"])
def test_made_fields_are_segmented_as_they_were_drawn(made: dict[str, list[DrawnFov]], look: str, known: bool) -> None:
    found = [(drawn, segment_builtin(image_of(drawn, look, known=known), DEFAULT)) for drawn in made[look]]
    nuclei = agreement((drawn.nuclei, result.nuclei) for drawn, result in found)
    cells = agreement((drawn.mask, result.cells) for drawn, result in found)
    assert nuclei.n_true >= 25
    assert nuclei.f1 >= 0.9
    assert cells.f1 >= 0.9


def assert_in_order(found: Segmentation, shape: tuple[int, int]) -> None:
    """Numbers 1..n by first pixels, alike in both; every nucleus within the cell of its number."""
    for labels in (found.cells, found.nuclei):
        assert labels.dtype == np.int32
        assert labels.shape == shape
    seen = list(dict.fromkeys(found.nuclei[found.nuclei > 0].tolist()))
    assert seen == list(range(1, found.n_cells + 1))
    assert set(np.unique(found.cells)) - {0} == set(seen)
    np.testing.assert_array_equal(found.cells[found.nuclei > 0], found.nuclei[found.nuclei > 0])


@pytest.mark.parametrize("look", ["opencell", "hpa"])
def test_every_nucleus_lies_in_the_cell_of_its_number(made: dict[str, list[DrawnFov]], look: str) -> None:
    for drawn in made[look]:
        found = segment_builtin(image_of(drawn, look), DEFAULT)
        assert found.n_cells > 0
        assert_in_order(found, drawn.mask.shape)


def test_labels_are_the_same_from_one_thread_and_from_four(made: dict[str, list[DrawnFov]]) -> None:
    images = [image_of(drawn, look) for look, fields in made.items() for drawn in fields]
    alone = [segment_builtin(image, DEFAULT) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: segment_builtin(image, DEFAULT), images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.cells, other.cells)
        np.testing.assert_array_equal(one.nuclei, other.nuclei)


@pytest.mark.parametrize(
    ("look", "turn"), some(itertools.product(["opencell", "hpa"], ["transposed", "flipped", "half a turn"]), 0, 4)
)
def test_a_turned_field_has_about_the_same_cells(made: dict[str, list[DrawnFov]], look: str, turn: str) -> None:
    def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
        views = {
            "transposed": array.swapaxes(-1, -2),
            "flipped": array[..., ::-1],
            "half a turn": array[..., ::-1, ::-1],
        }
        return np.ascontiguousarray(views[turn])

    drawn = made[look][0]
    image = image_of(drawn, look)
    plain = segment_builtin(image, DEFAULT)
    other = segment_builtin(ChannelImage(turned(image.pixels), image.channels, image.pixel_size_um), DEFAULT)
    score = agreement([(turned(plain.cells), other.cells)])
    assert score.f1 >= 0.97
    assert score.mean_iou >= 0.9


def test_cells_without_stains_reach_half_a_nucleus_and_with_stains_two() -> None:
    nuclei = discs((200, 200), [(100, 100, 30)])
    nucleus = plane(nuclei)
    known = NucleusParameters(diameter_px=30)
    bare = segment_builtin(field(nucleus), known)
    # a disc of 30 px with 15 px around it
    assert bare.cells.astype(bool).sum() == pytest.approx(np.pi * 30**2, rel=0.1)
    stain = plane(discs((200, 200), [(100, 100, 190)]), light=2000, seed=1)
    stained = segment_builtin(field(nucleus, er=stain), known)
    assert stained.cells.astype(bool).sum() == pytest.approx(np.pi * 75**2, rel=0.1)
    protein = segment_builtin(field(nucleus, protein=stain), known)
    np.testing.assert_array_equal(protein.cells, bare.cells)


def test_how_far_cells_reach_can_be_said_in_pixels_and_in_micrometres() -> None:
    nucleus = plane(discs((120, 120), [(60, 60, 30)]))
    known = NucleusParameters(diameter_px=30)
    in_px = segment_builtin(field(nucleus, 0.5), known, cell_reach_px=8, cell_reach_um=99)
    in_um = segment_builtin(field(nucleus, 0.5), known, cell_reach_um=4)
    np.testing.assert_array_equal(in_px.cells, in_um.cells)
    assert in_px.cells.astype(bool).sum() == pytest.approx(np.pi * 23**2, rel=0.1)
    np.testing.assert_array_equal(
        segment_builtin(field(nucleus), known, cell_reach_px=0).cells,
        segment_builtin(field(nucleus), known).nuclei,
    )
    with pytest.raises(ImageRejectedError, match=r"cell_reach_um needs the pixel size.*--pixel-size"):
        segment_builtin(field(nucleus), known, cell_reach_um=4)


def test_a_flat_stain_counts_as_none() -> None:
    nucleus = plane(discs((120, 120), [(60, 60, 30)]))
    flat = segment_builtin(field(nucleus, er=np.full_like(nucleus, 9)), NucleusParameters(diameter_px=30))
    bare = segment_builtin(field(nucleus), NucleusParameters(diameter_px=30))
    np.testing.assert_array_equal(flat.cells, bare.cells)


def test_noise_is_a_field_without_cells(rng: np.random.Generator) -> None:
    noise = rng.integers(100, 160, (130, 90)).astype(np.uint16)
    for pixel_size_um in (None, 0.3):
        found = segment_builtin(field(noise, pixel_size_um, er=noise), DEFAULT)
        assert found.n_cells == 0
        assert_in_order(found, (130, 90))


def test_an_image_that_cannot_be_segmented_is_refused() -> None:
    with pytest.raises(ImageRejectedError, match="no channel nucleus among protein"):
        segment_builtin(ChannelImage(np.eye(9, dtype=np.uint8)[None], ("protein",)), DEFAULT)
    spoiled = np.eye(9, dtype=np.float32)
    spoiled[4, 4] = np.nan
    with pytest.raises(ImageRejectedError, match="channel nucleus has 1 NaN"):
        segment_builtin(field(spoiled), DEFAULT)


label_images = npst.arrays(np.int32, (6, 7), elements=st.integers(0, 6))


@given(cells=label_images, nuclei=label_images)
def test_numbers_follow_the_nuclei_whatever_they_were(cells: NDArray[np.int32], nuclei: NDArray[np.int32]) -> None:
    found = numbered(cells, nuclei)
    assert_in_order(found, (6, 7))
    new_of = dict(zip(nuclei.ravel().tolist(), found.nuclei.ravel().tolist(), strict=True))
    for place in np.ndindex(6, 7):
        assert (nuclei[place] > 0) == (found.nuclei[place] > 0)
        if nuclei[place] == 0:
            assert found.cells[place] == (new_of.get(int(cells[place]), 0) if cells[place] else 0)
