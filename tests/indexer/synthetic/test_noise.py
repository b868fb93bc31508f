import numpy as np
import pytest

from locatlas.indexer.synthetic.noise import SCALES_PX, texture


@pytest.mark.parametrize("scale", SCALES_PX)
def test_textures_have_the_asked_smoothness(scale: float, rng: np.random.Generator) -> None:
    field = texture((1024, 1024), scale, rng)
    assert field.mean() == pytest.approx(0, abs=1e-3)
    assert field.std() == pytest.approx(1, abs=1e-3)
    # white noise smoothed by a Gaussian of SD s correlates exp(-d^2 / 4 s^2) at distance d
    d = max(round(scale), 1)
    correlation = float(np.mean(field * np.roll(field, d, axis=1)))
    assert correlation == pytest.approx(np.exp(-(d**2) / (4 * scale**2)), abs=0.06)


def test_the_shared_texture_cannot_be_changed(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="read-only"):
        texture((8, 8), 1.0, rng)[0, 0] = 1


def test_fields_larger_than_the_texture_are_filled(rng: np.random.Generator) -> None:
    field = texture((1500, 40), 1.0, rng)
    assert field.shape == (1500, 40)
    assert field[1100:].std() > 0.5


def test_pieces_differ_by_generator() -> None:
    pieces = [texture((50, 50), 2.0, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert np.any(pieces[0] != pieces[1])
    np.testing.assert_array_equal(pieces[0], pieces[2])
