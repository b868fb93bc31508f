import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from locatlas.indexer.synthetic.layout import lay_out
from locatlas.indexer.synthetic.looks import HPA, LOOKS, OPENCELL
from locatlas.indexer.synthetic.scene import Scene


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(64, 150),
    width=st.integers(64, 150),
    source=st.sampled_from(sorted(LOOKS)),
)
def test_maps_of_any_field_agree_with_each_other(seed: int, height: int, width: int, source: str) -> None:
    scene = lay_out((height, width), LOOKS[source], np.random.default_rng(seed))
    in_nucleus = scene.nuclei > 0
    np.testing.assert_array_equal(scene.nuclei[in_nucleus], scene.cells[in_nucleus])
    np.testing.assert_array_equal(scene.nucleus > 0.5, scene.depth_um > 0)
    assert np.all(scene.height[scene.cells == 0] == 0)
    for soft in (scene.height, scene.nucleus, scene.nucleolar):
        assert soft.dtype == np.float32
        assert soft.min() >= 0
        assert soft.max() <= 1
    assert np.all(scene.nucleolar <= scene.nucleus)
    assert scene.cells.max(initial=0) <= scene.n_cells
    for label in range(scene.n_cells + 1):
        pixels = scene.order[scene.bounds[label] : scene.bounds[label + 1]]
        np.testing.assert_array_equal(np.sort(pixels), np.flatnonzero(scene.cells == label))


def test_edge_distance_is_the_distance_to_the_border_at_half_resolution(scene: Scene) -> None:
    exact = ndimage.distance_transform_edt(~scene.borders) * scene.pixel_um
    # half resolution and a 3 px mean: two pixels and a half at most
    assert np.abs(scene.edge_um - exact).max() <= 2.5 * scene.pixel_um


def test_nuclei_have_the_size_of_the_look_and_keep_their_distance() -> None:
    for look in (OPENCELL, HPA):
        scene = lay_out((500, 500), look, np.random.default_rng(11))
        inner = np.all((scene.centres > 80) & (scene.centres < 420), axis=1) & ~scene.mitotic
        areas = np.bincount(scene.nuclei.ravel(), minlength=scene.n_cells + 1)[inner] * scene.pixel_um**2
        assert len(areas) >= 4
        assert np.sqrt(np.median(areas) / np.pi) == pytest.approx(look.nucleus_um, rel=0.15)
        apart = np.linalg.norm(scene.centres[1:, None] - scene.centres[None, 1:], axis=2) * scene.pixel_um
        assert apart[np.triu_indices(scene.n_cells, 1)].min() >= 0.6 * look.pitch_um


def test_an_opencell_field_shows_some_thirty_cells() -> None:
    counts = []
    for seed in range(4):
        scene = lay_out((600, 600), OPENCELL, np.random.default_rng(seed))
        counts.append(len(np.unique(scene.nuclei)) - 1)
    assert min(counts) >= 20
    assert max(counts) <= 60


def test_a_metaphase_plate_is_long_and_has_no_nucleoli(scene: Scene) -> None:
    at_edge = {*scene.nuclei[[0, -1]].ravel().tolist(), *scene.nuclei[:, [0, -1]].ravel().tolist()}
    plates = [n for n in np.flatnonzero(scene.mitotic) if np.any(scene.nuclei == n) and n not in at_edge]
    assert plates
    for label in plates:
        y, x = np.nonzero(scene.nuclei == label)
        large, small = np.sort(np.linalg.eigvalsh(np.cov(y, x)))[::-1]
        assert np.sqrt(large / small) > 2
        assert label not in scene.nucleoli.owners
