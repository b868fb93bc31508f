import numpy as np
import pytest
from scipy import ndimage

from locatlas.indexer.synthetic.classes import CLASSES, class_by_label
from locatlas.indexer.synthetic.fov import draw_hpa, draw_opencell
from locatlas.indexer.synthetic.proteins import make_proteins

PROTEINS = {protein.graded(3)[0]: protein for protein in make_proteins(CLASSES, 1, seed=0)}


def test_an_opencell_field_has_two_16_bit_channels_on_a_camera_offset() -> None:
    drawn = draw_opencell(PROTEINS["golgi"], 200, np.random.default_rng(1))
    assert drawn.channels == ("nucleus", "protein")
    assert drawn.pixels.shape == (2, 200, 200)
    assert drawn.pixels.dtype == np.uint16
    assert drawn.pixels.min() > 80
    assert drawn.pixels[0].max() > 3 * np.median(drawn.pixels[0])


def test_an_hpa_field_has_four_8_bit_channels_with_a_dark_background() -> None:
    drawn = draw_hpa(PROTEINS["golgi"], 200, np.random.default_rng(1))
    assert drawn.channels == ("microtubules", "protein", "nucleus", "er")
    assert drawn.pixels.shape == (4, 200, 200)
    assert drawn.pixels.dtype == np.uint8
    assert np.median(drawn.pixels[2][drawn.mask == 0]) <= 12
    assert np.all(drawn.pixels.max(axis=(1, 2)) == 255)


@pytest.mark.parametrize("draw", [draw_opencell, draw_hpa])
def test_the_mask_numbers_cells_from_one_without_gaps_and_matches_the_nuclear_stain(draw) -> None:
    drawn = draw(PROTEINS["cytoplasmic"], 300, np.random.default_rng(2))
    assert drawn.mask.dtype == np.uint16
    np.testing.assert_array_equal(np.unique(drawn.mask), np.arange(len(drawn.mitotic) + 1))
    np.testing.assert_array_equal(np.unique(drawn.nuclei), np.arange(len(drawn.mitotic) + 1))
    in_nucleus = drawn.nuclei > 0
    np.testing.assert_array_equal(drawn.mask[in_nucleus], drawn.nuclei[in_nucleus])
    stain = drawn.pixels[drawn.channels.index("nucleus")].astype(float)
    background = np.median(stain[~in_nucleus])
    assert np.median(stain[in_nucleus]) > background + 5 * np.median(np.abs(stain[~in_nucleus] - background))


@pytest.mark.parametrize("draw", [draw_opencell, draw_hpa])
def test_a_nuclear_and_a_cytoplasmic_protein_can_be_told_apart_after_the_camera(draw) -> None:
    contrast = {}
    for label in ("nucleolus_gc", "nucleoplasm", "cytoplasmic", "er"):
        drawn = draw(PROTEINS[label], 256, np.random.default_rng(5))
        plane = drawn.pixels[1].astype(float)
        # the cytoplasm next to the nuclei: farther out cells are thin
        around = ndimage.binary_dilation(drawn.nuclei > 0, iterations=12) & (drawn.mask > 0) & (drawn.nuclei == 0)
        inside, outside = plane[drawn.nuclei > 0].mean(), plane[around].mean()
        contrast[label] = inside / outside
    assert min(contrast["nucleolus_gc"], contrast["nucleoplasm"]) > 1.1
    assert max(contrast["cytoplasmic"], contrast["er"]) < 1.0


def test_the_same_generator_draws_the_same_field() -> None:
    first, again, other = (draw_opencell(PROTEINS["er"], 96, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert np.any(first.pixels != other.pixels)


def test_hpa_shows_speckles_for_chromatin() -> None:
    assert class_by_label("chromatin").hpa == ("Nuclear speckles",)
    drawn = draw_hpa(PROTEINS["chromatin"], 200, np.random.default_rng(0))
    nucleus, protein = drawn.pixels[2][drawn.nuclei > 0], drawn.pixels[1][drawn.nuclei > 0]
    # clouds apart from the DNA: the brightest tenth stands out more than in the stain
    excess = [np.quantile(plane, 0.97) / max(np.median(plane), 1) for plane in (nucleus.astype(float), protein)]
    assert excess[1] > excess[0]
