import numpy as np
import pytest

from locatlas.errors import ImageRejectedError
from locatlas.models.qc import SATURATED_SHARE, check_usable, qc_flags
from locatlas.types import ChannelImage

CHANNELS = ("nucleus", "protein")


def two(protein: np.ndarray) -> ChannelImage:
    """An image whose nucleus is in order and whose protein is as given."""
    top = 1 if np.issubdtype(protein.dtype, np.floating) else np.iinfo(protein.dtype).max
    nucleus = np.linspace(0, 0.5 * top, protein.size).reshape(protein.shape).astype(protein.dtype)
    return ChannelImage(np.stack([nucleus, protein]), CHANNELS)


def ramp(dtype: type, *, top: float, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    return np.linspace(0, top, shape[0] * shape[1]).reshape(shape).astype(dtype)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 200), (np.uint16, 3000), (np.float32, 0.9)])
def test_an_image_in_order_has_no_flags(dtype: type, top: float) -> None:
    image = two(ramp(dtype, top=top))
    assert qc_flags(image) == ()
    check_usable(image, unit_range=True)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_flat_channel_is_named(value: int) -> None:
    assert qc_flags(two(np.full((40, 50), value, np.uint8))) == ("flat:protein",)


@pytest.mark.parametrize(("dtype", "end"), [(np.uint8, 255), (np.uint16, 65535), (np.uint16, 4095), (np.float32, 1)])
def test_more_than_a_hundredth_at_the_end_of_the_range_is_saturated(dtype: type, end: int) -> None:
    plane = ramp(dtype, top=end / 2)
    n = round(SATURATED_SHARE * plane.size)
    plane.flat[:n] = end
    assert qc_flags(two(plane)) == ()
    plane.flat[n] = end
    assert qc_flags(two(plane)) == ("saturated:protein",)


def test_a_bright_plateau_below_the_end_of_the_range_is_not_saturated() -> None:
    plane = ramp(np.uint16, top=2000)
    plane[:10] = 3000
    assert qc_flags(two(plane)) == ()


@pytest.mark.parametrize("shape", [(1, 1), (31, 500), (500, 31)])
def test_a_short_edge_is_tiny(shape: tuple[int, int]) -> None:
    pixels = np.stack([np.zeros(shape), np.ones(shape)]).astype(np.float32)
    assert "tiny" in qc_flags(ChannelImage(pixels, CHANNELS))


@pytest.mark.parametrize("bad", [-0.01, 1.01, 3e30])
def test_floats_outside_the_unit_range_are_flagged_and_refused_only_where_nothing_scales_them(bad: float) -> None:
    plane = ramp(np.float32, top=0.9)
    plane[3, 4] = bad
    image = two(plane)
    assert qc_flags(image) == ("out_of_range",)
    check_usable(image, unit_range=False)
    with pytest.raises(ImageRejectedError, match=r"channel protein holds floats from .* divide them"):
        check_usable(image, unit_range=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_with_a_pixel_that_is_no_number_is_refused(bad: float) -> None:
    plane = ramp(np.float32, top=0.9)
    plane[0, :3] = bad
    image = two(plane)
    assert qc_flags(image) == ("nan",)
    with pytest.raises(ImageRejectedError, match="channel protein has 3 NaN or infinite pixels of 2000"):
        check_usable(image, unit_range=False)


@pytest.mark.parametrize("dtype", [np.int32, np.int16, np.bool_, np.complex64])
def test_pixels_of_another_type_are_refused(dtype: type) -> None:
    image = ChannelImage(np.zeros((2, 40, 50), dtype), CHANNELS)
    with pytest.raises(ImageRejectedError, match="uint8, uint16 or float32"):
        check_usable(image, unit_range=False)


def test_an_image_without_pixels_is_tiny_and_refused() -> None:
    image = ChannelImage(np.zeros((2, 0, 50), np.uint8), CHANNELS)
    assert qc_flags(image) == ("tiny",)
    with pytest.raises(ImageRejectedError, match="no pixels"):
        check_usable(image, unit_range=False)
