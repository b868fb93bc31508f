import numpy as np
import pytest

from locatlas.indexer.synthetic.camera import expose_counts, expose_display, make_optics
from locatlas.indexer.synthetic.looks import HPA, OPENCELL


def test_counts_have_the_mean_and_variance_of_shot_and_read_noise(rng: np.random.Generator) -> None:
    photons = np.full((300, 300), 40.0, dtype=np.float32)
    counts = expose_counts(photons, offset=200, gain=2.5, read_sd=7, rng=rng)
    assert counts.dtype == np.uint16
    assert counts.mean() == pytest.approx(200 + 2.5 * 40, rel=0.005)
    assert counts.var() == pytest.approx(2.5**2 * 40 + 7**2 + 1 / 12, rel=0.03)


def test_counts_saturate_at_the_limits_of_16_bit(rng: np.random.Generator) -> None:
    bright = expose_counts(np.full((8, 8), 1e6, dtype=np.float32), offset=200, gain=2.5, read_sd=7, rng=rng)
    dark = expose_counts(np.zeros((8, 8), dtype=np.float32), offset=-500, gain=2.5, read_sd=7, rng=rng)
    assert np.all(bright == 65535)
    assert np.all(dark == 0)


def test_display_pictures_run_from_black_background_to_white(rng: np.random.Generator) -> None:
    light = np.zeros((200, 200), dtype=np.float32)
    light[50:100, 50:100] = 1
    picture = expose_display(light, photons=200, floor=0.05, white=0.99, pixel_um=HPA.pixel_um, rng=rng)
    assert picture.dtype == np.uint8
    assert np.median(picture[120:]) <= 5
    assert picture.max() == 255
    assert np.mean(picture[50:100, 50:100]) > 120


def test_a_field_without_light_stays_dark_but_for_noise(rng: np.random.Generator) -> None:
    picture = expose_display(
        np.zeros((64, 64), dtype=np.float32), photons=50, floor=0.05, white=0.999, pixel_um=0.32, rng=rng
    )
    assert picture.dtype == np.uint8


def test_optics_keep_the_light_of_a_dot_and_dim_the_corners(rng: np.random.Generator) -> None:
    optics = make_optics((201, 201), OPENCELL, rng)
    dot = np.zeros((201, 201), dtype=np.float32)
    dot[100, 100] = 1
    seen = optics.image(dot)
    assert 0.95 <= seen.sum() <= 1.001
    assert seen[100, 100] < 0.5
    flat = optics.image(np.ones((201, 201), dtype=np.float32))
    assert flat[0, 0] < flat[100, 100] <= 1.001
