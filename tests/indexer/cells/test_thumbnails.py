"""Pictures of cells: what they show, how large they are, and that cells of one field can be compared."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from locatlas.indexer.cells.thumbnails import cell_thumbnails
from locatlas.indexer.files.thumbnails import thumbnail
from locatlas.models.crops import Place
from locatlas.types import ChannelImage

TWO = ("nucleus", "protein")


def at(top: int, left: int, bottom: int, right: int) -> Place:
    mask = np.ones((bottom - top, right - left), np.bool_)
    return Place((top, left, bottom, right), ((top + bottom) / 2, (left + right) / 2), None, False, mask)


def decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "WEBP"
        return np.asarray(picture.convert("RGB"))


def test_a_cell_is_shown_in_its_colours_with_what_is_around_it(rng: np.random.Generator) -> None:
    pixels = rng.integers(100, 140, (2, 200, 200), dtype=np.uint16)
    pixels[0, 60:100, 80:120] = 4000  # the cell: nucleus
    pixels[1, 60:100, 121:160] = 4000  # its neighbor: protein
    (picture,) = map(decoded, cell_thumbnails(ChannelImage(pixels, TWO), [at(60, 80, 100, 120)]))
    assert picture.shape == (52, 52, 3)  # 40 px and 15 % on each side
    assert picture[20:32, 20:32].mean(axis=(0, 1)).argmax() == 2
    assert picture[20:32, 49:].mean(axis=(0, 1)).argmax() == 1
    assert picture[:4, :40].max() < 60


def test_pictures_lie_where_the_cells_do(rng: np.random.Generator) -> None:
    """Against the plain thumbnail of the same square of a field that is stretched already."""
    y, x = np.mgrid[:300, :300]
    pixels = np.stack([(y * 200 // 299), (x * 200 // 299)]).astype(np.uint8)
    pixels[:, ::7, ::7] = 255
    pixels[:, 1::7, ::7] = 0
    got = decoded(cell_thumbnails(ChannelImage(pixels, TWO), [at(100, 150, 200, 230)])[0]).astype(float)
    square = ChannelImage(np.ascontiguousarray(pixels[:, 85:215, 125:255]), TWO)  # 100 px and 15 % on each side
    plain = np.zeros((64, 64, 3))
    for channel, colour in ((0, 2), (1, 1)):
        small = Image.fromarray(square.pixels[channel]).resize((64, 64), Image.Resampling.BOX)
        plain[..., colour] = np.asarray(small)
    assert np.abs(got - plain).mean() < 6  # WebP is not exact
    assert decoded(thumbnail(square, edge_px=64)).shape == got.shape


def test_a_dim_cell_looks_dim_beside_a_bright_one(rng: np.random.Generator) -> None:
    pixels = rng.integers(100, 110, (2, 200, 200), dtype=np.uint16)
    pixels[1, 40:80, 40:80] = 400
    pixels[1, 120:160, 120:160] = 3000
    cells = [at(40, 40, 80, 80), at(120, 120, 160, 160)]
    dim, bright = (decoded(p)[20:30, 20:30, 1].mean() for p in cell_thumbnails(ChannelImage(pixels, TWO), cells))
    assert dim < 50
    assert bright > 200


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.data(),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
    st.integers(1, 80),
)
def test_every_box_gives_a_square_of_its_size_at_most_the_edge(
    height: int, width: int, data: st.DataObject, dtype: type, edge_px: int
) -> None:
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    pixels = np.linspace(0, 1 if dtype is np.float32 else 200, 2 * height * width).reshape(2, height, width)
    image = ChannelImage(pixels.astype(dtype), TWO)
    pictures = cell_thumbnails(image, [at(top, left, bottom, right)], edge_px=edge_px)
    longest = max(bottom - top, right - left)
    edge = min(-(-13 * longest // 10), edge_px)  # 1.3 times, rounded up
    assert [decoded(p).shape for p in pictures] == [(edge, edge, 3)]


def test_the_same_field_gives_the_same_bytes_in_the_order_of_its_cells(rng: np.random.Generator) -> None:
    pixels = rng.random((2, 300, 280)).astype(np.float32)
    pixels[0, 5, 5] = np.nan
    image, cells = ChannelImage(pixels, TWO), [at(5, 5, 70, 60), at(100, 90, 190, 200), at(250, 200, 300, 280)]
    before = pixels.copy()
    first = cell_thumbnails(image, cells)
    assert first == cell_thumbnails(ChannelImage(before, TWO), cells)
    assert cell_thumbnails(image, cells[::-1]) == first[::-1]
    assert len(set(first)) == 3
    np.testing.assert_array_equal(pixels, before)


def test_a_field_without_cells_gives_none_and_flat_ones_black() -> None:
    flat = ChannelImage(np.full((2, 40, 40), 9, np.uint16), TWO)
    assert cell_thumbnails(flat, []) == []
    assert decoded(cell_thumbnails(flat, [at(0, 0, 40, 40)])[0]).max() < 8


def test_outside_of_the_field_it_is_black_and_an_unknown_stain_is_grey() -> None:
    pixels = np.zeros((1, 60, 60), np.uint8)
    pixels[:, ::2] = 200
    pixels[:, 1::2] = 190
    pixels[:, :, 50:] = 0
    picture = decoded(cell_thumbnails(ChannelImage(pixels, ("actin",)), [at(0, 0, 30, 30)])[0])
    assert picture.shape == (39, 39, 3)
    assert picture[:3].max() < 40
    assert picture[:, :3].max() < 40
    assert picture[10:35, 10:35].min() > 150


def test_a_cell_of_which_only_the_centre_is_known_is_shown_with_what_is_around_it(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 200, (2, 200, 200), dtype=np.uint16)
    pixels[1, 95:106, 95:106] = 4000
    centre = Place((100, 100, 101, 101), (100.0, 100.0), None, False, None)
    (picture,) = map(decoded, cell_thumbnails(ChannelImage(pixels, TWO), [centre]))
    assert picture.shape == (64, 64, 3)
    assert picture[28:36, 28:36, 1].min() > 150


def test_an_edge_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="edge_px must be at least 1, got 0"):
        cell_thumbnails(ChannelImage(np.zeros((1, 4, 4), np.uint8), ("protein",)), [at(0, 0, 4, 4)], edge_px=0)
