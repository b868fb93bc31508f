"""Thumbnails: colours of the stains, sizes, and the same bytes each time."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from locatlas.indexer.files.images import thumbnail
from locatlas.types import ChannelImage


def decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "WEBP"
        return np.asarray(picture.convert("RGB"))


def test_each_stain_shows_in_its_colour(rng: np.random.Generator) -> None:
    pixels = np.zeros((3, 64, 64), np.uint16)
    for i in range(3):
        pixels[i, 4:60, 20 * i + 2 : 20 * i + 18] = 4000
    image = ChannelImage(pixels, ("nucleus", "protein", "microtubules"))
    picture = decoded(thumbnail(image))
    for i, colour in enumerate((2, 1, 0)):
        patch = picture[20:40, 20 * i + 6 : 20 * i + 14].mean(axis=(0, 1))
        assert int(patch.argmax()) == colour
        assert patch.max() > 150


@pytest.mark.parametrize(
    ("height", "width", "size"), [(600, 300, (48, 96)), (10, 20, (20, 10)), (1, 1, (1, 1)), (1, 5000, (96, 1))]
)
def test_the_longest_edge_is_bounded_and_small_images_stay(height, width, size, rng) -> None:
    image = ChannelImage(rng.integers(0, 65536, (2, height, width), dtype=np.uint16), ("nucleus", "protein"))
    with Image.open(io.BytesIO(thumbnail(image, edge_px=96))) as picture:
        assert picture.size == size


def test_the_same_image_gives_the_same_bytes(rng) -> None:
    pixels = rng.random((2, 80, 90)).astype(np.float32)
    image = ChannelImage(pixels, ("nucleus", "protein"))
    before = pixels.copy()
    assert thumbnail(image) == thumbnail(ChannelImage(before, ("nucleus", "protein")))
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf])
def test_a_flat_image_is_black(value: float) -> None:
    image = ChannelImage(np.full((2, 16, 16), value, np.float32), ("nucleus", "protein"))
    assert decoded(thumbnail(image)).max() < 8


def test_an_unknown_stain_is_grey() -> None:
    pixels = np.zeros((1, 32, 32), np.uint8)
    pixels[:, 8:24, 8:24] = 200
    centre = decoded(thumbnail(ChannelImage(pixels, ("actin",))))[12:20, 12:20].mean(axis=(0, 1))
    assert centre.min() > 200


def test_an_edge_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="edge_px"):
        thumbnail(ChannelImage(np.zeros((1, 4, 4), np.uint8), ("protein",)), edge_px=0)
