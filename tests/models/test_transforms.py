from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from locatlas.errors import ImageRejectedError
from locatlas.models.spec import EncoderSpec
from locatlas.models.transforms import network_input, pad_to_patch, resize_and_crop, scale_intensity, standardize
from locatlas.types import ChannelImage

INTENSITIES = ("unit", "standardize", "minmax", "minmax_joint", "percentile")
RESIZES = ("square", "short_edge_crop", "center_crop_pad", "none_pad_to_patch")
CHANNELS = ("nucleus", "protein")


def spec_with(**changes: object) -> EncoderSpec:
    fields: dict = {"name": "t", "architecture": "x", "slots": CHANNELS, "input_px": 32, "embedding_dim": 4}
    return EncoderSpec(**{**fields, **changes})


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_unit_divides_by_the_range_of_the_type(dtype: type, top: float) -> None:
    pixels = np.array([[[0, top / 5, top]]], dtype)
    out = scale_intensity(pixels, spec_with(intensity="unit"))
    np.testing.assert_allclose(out, [[[0, pixels[0, 0, 1] / top, 1]]], rtol=1e-6)
    assert out.dtype == np.float32


def test_minmax_scales_each_channel_and_joint_all_together() -> None:
    pixels = np.array([[[10, 20]], [[20, 50]]], np.uint8)
    each = scale_intensity(pixels, spec_with(intensity="minmax"))
    joint = scale_intensity(pixels, spec_with(intensity="minmax_joint"))
    np.testing.assert_allclose(each, [[[0, 1]], [[0, 1]]])
    np.testing.assert_allclose(joint, [[[0, 0.25]], [[0.25, 1]]])


def test_percentile_clips_at_numpys_percentiles(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 65536, (2, 30, 40), dtype=np.uint16)
    out = scale_intensity(pixels, spec_with(intensity="percentile", percentiles=(2.0, 97.0)))
    for plane, scaled in zip(pixels.astype(float), out, strict=True):
        low, high = np.percentile(plane, [2, 97])
        np.testing.assert_allclose(scaled, np.clip((plane - low) / (high - low), 0, 1), atol=1e-6)


def test_percentile_keeps_a_few_bright_pixels_on_black() -> None:
    pixels = np.zeros((1, 100, 100), np.uint8)
    pixels[0, 5, 5:8] = (50, 100, 200)
    out = scale_intensity(pixels, spec_with(intensity="percentile", percentiles=(0.0, 99.0)))
    np.testing.assert_allclose(out[0, 5, 5:8], [0.25, 0.5, 1])


def test_standardize_is_the_textbook_formula(rng: np.random.Generator) -> None:
    x = rng.random((2, 20, 30))
    expected = (x - x.mean((1, 2), keepdims=True)) / (x.std((1, 2), keepdims=True) + 1e-7)
    np.testing.assert_allclose(standardize(torch.from_numpy(x).float()).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("intensity", INTENSITIES)
@pytest.mark.parametrize("value", [0, 1, 4095, 65535])
def test_a_flat_channel_gives_no_nan_and_is_zero_unless_it_is_only_divided(intensity: str, value: int) -> None:
    pixels = np.zeros((2, 40, 40), np.uint16)
    pixels[0, :20], pixels[1] = 1000, value
    spec = spec_with(intensity=intensity, stains=("protein",))
    out = network_input(ChannelImage(pixels, CHANNELS), spec, patch_px=16)
    expected = value / 65535 if intensity == "unit" else 0
    np.testing.assert_allclose(out[0, 1], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 40), (17, 90), (200, 33), (1, 1)])
def test_resize_matches_pillows_antialiased_bilinear(shape: tuple[int, int], rng: np.random.Generator) -> None:
    plane = rng.random(shape).astype(np.float32)
    ours = resize_and_crop(torch.from_numpy(plane)[None], spec_with(resize="square"))[0]
    theirs = np.asarray(Image.fromarray(plane).resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-5)


def test_short_edge_crop_takes_the_centre(rng: np.random.Generator) -> None:
    plane = torch.from_numpy(rng.random((1, 64, 160)).astype(np.float32))
    out = resize_and_crop(plane, spec_with(resize="short_edge_crop"))
    whole = resize_and_crop(plane, spec_with(resize="none_pad_to_patch", pixel_size_um=2.0), pixel_size_um=1.0)
    assert whole.shape == (1, 32, 80)
    assert torch.equal(out, whole[:, :, 24:56])


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((40, 50), None),
        ((32, 32), None),
        ((31, 20), (slice(0, 31), slice(6, 26))),
        ((5, 40), (slice(13, 18), slice(None))),
    ],
)
def test_center_crop_pad_never_scales(shape: tuple[int, int], box: tuple | None, rng: np.random.Generator) -> None:
    pixels = rng.integers(1, 256, (1, *shape), dtype=np.uint8)
    spec = spec_with(slots=("protein",), resize="center_crop_pad", intensity="unit")
    out = network_input(ChannelImage(pixels, ("protein",)), spec, patch_px=16)[0, 0].numpy() * 255
    assert out.shape == (32, 32)
    top, left = max(0, (shape[0] - 32) // 2), max(0, (shape[1] - 32) // 2)
    inside = pixels[0, top : top + 32, left : left + 32]
    if box is None:
        np.testing.assert_allclose(out, inside, rtol=1e-5)
    else:
        np.testing.assert_allclose(out[box], inside[: out[box].shape[0]], rtol=1e-5)
        assert np.isclose(out.sum(), inside.sum(), rtol=1e-5)  # zeros elsewhere


@pytest.mark.parametrize(("shape", "padded"), [((600, 600), (608, 608)), ((16, 33), (16, 48)), ((1, 1), (16, 16))])
def test_padding_reaches_the_next_multiple_of_the_patch_and_drops_nothing(
    shape: tuple[int, int], padded: tuple[int, int]
) -> None:
    out = pad_to_patch(torch.ones(2, *shape), 16)
    assert out.shape == (2, *padded)
    assert out.sum() == 2 * shape[0] * shape[1]


def test_standardize_takes_its_numbers_before_padding() -> None:
    pixels = np.arange(20 * 20, dtype=np.uint16).reshape(1, 20, 20)
    spec = spec_with(slots=("protein",), resize="center_crop_pad", intensity="standardize")
    out = network_input(ChannelImage(pixels, ("protein",)), spec, patch_px=16)[0, 0, 6:26, 6:26]
    assert abs(float(out.mean())) < 1e-5
    assert abs(float(out.std(correction=0)) - 1) < 1e-4


def test_a_known_pixel_size_is_brought_to_the_encoders() -> None:
    image = ChannelImage(np.zeros((2, 600, 600), np.uint16), CHANNELS, pixel_size_um=0.206349)
    spec = spec_with(resize="none_pad_to_patch", pixel_size_um=0.320354, intensity="unit")
    planes = torch.zeros(2, 600, 600)
    assert resize_and_crop(planes, spec, pixel_size_um=image.pixel_size_um).shape == (2, 386, 386)  # 600 * 0.6441
    assert resize_and_crop(planes, spec, pixel_size_um=None).shape == (2, 600, 600)
    assert network_input(image, spec, patch_px=16).shape == (1, 2, 400, 400)


@pytest.mark.parametrize("pixel_size_um", [1e4, 1e-9])
def test_an_absurd_pixel_size_is_refused(pixel_size_um: float) -> None:
    spec = spec_with(resize="none_pad_to_patch", pixel_size_um=0.1)
    with pytest.raises(ImageRejectedError, match=r"px at .* um would be"):
        resize_and_crop(torch.zeros(1, 600, 600), spec, pixel_size_um=pixel_size_um)


def test_finite_pixels_that_overflow_are_refused() -> None:
    pixels = np.array([[[-3e38, 3e38], [0, 1]]], np.float32)
    spec = spec_with(slots=("protein",), intensity="standardize", std=(1e-39,))
    with pytest.raises(ImageRejectedError, match="cannot be scaled to finite numbers"):
        network_input(ChannelImage(pixels, ("protein",)), spec, patch_px=16)


def test_channels_outside_the_plan_have_no_influence(make_spec: Callable, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 100, (3, 40, 40), dtype=np.uint8)
    pixels[2] = 255
    spec = make_spec(intensity="minmax_joint")
    three = network_input(ChannelImage(pixels, ("nucleus", "protein", "actin")), spec, patch_px=16)
    two = network_input(ChannelImage(pixels[:2], ("nucleus", "protein")), spec, patch_px=16)
    assert torch.equal(three, two)


@pytest.mark.parametrize("pooling", ["spread", "cls_spread"])
def test_a_pooling_of_what_is_shown_gets_one_plane_more(pooling: str, rng: np.random.Generator) -> None:
    pixels = np.zeros((2, 64, 64), np.uint8)
    pixels[0, 8:24, 0:16] = 7  # nucleus alone
    pixels[1, 8:24, 16:30] = rng.integers(1, 256, (16, 14))
    image = ChannelImage(pixels, CHANNELS)
    with_it = network_input(image, spec_with(pooling=pooling), patch_px=16)
    assert torch.equal(with_it[:, :2], network_input(image, spec_with(), patch_px=16))
    expected = np.asarray(Image.fromarray(pixels.any(0).astype(np.float32)).resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(with_it[0, 2].numpy(), expected, atol=1e-6)
    protein = network_input(image, spec_with(pooling=pooling, stains=("protein",)), patch_px=16)
    assert float(protein[0, -1, :, :6].max()) == 0  # a stain out of use shows nothing


@pytest.mark.parametrize("intensity", INTENSITIES)
def test_padding_shows_nothing(intensity: str) -> None:
    spec = spec_with(slots=("protein",), pooling="spread", intensity=intensity, mean=(0.5,))
    pixels = np.arange(1, 401, dtype=np.uint16).reshape(1, 20, 20)
    for resize, edge in (("center_crop_pad", 32), ("none_pad_to_patch", 32)):
        out = network_input(ChannelImage(pixels, ("protein",)), spec.with_changes(resize=resize), patch_px=16)
        assert out.shape == (1, 2, edge, edge)
        expected = np.zeros((32, 32))
        expected[6:26, 6:26] = 1
        np.testing.assert_array_equal(out[0, 1].numpy(), expected)


def test_every_separate_pass_knows_what_is_shown(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 2, (2, 32, 32), dtype=np.uint8)
    spec = spec_with(pooling="spread", stains=CHANNELS, passes="separate")
    out = network_input(ChannelImage(pixels, CHANNELS), spec, patch_px=16)
    assert out.shape == (2, 3, 32, 32)
    for one in out:
        np.testing.assert_array_equal(one[2].numpy(), pixels.any(0))


PIXELS = st.one_of(
    npst.arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 40), st.integers(1, 40))),
    npst.arrays(np.uint16, st.tuples(st.just(2), st.integers(1, 40), st.integers(1, 40))),
    npst.arrays(
        np.float32,
        st.tuples(st.just(2), st.integers(1, 40), st.integers(1, 40)),
        elements=st.floats(0, 1, width=32),
    ),
)


@settings(max_examples=60, deadline=None)
@given(PIXELS, st.sampled_from(INTENSITIES), st.sampled_from(RESIZES), st.sampled_from([None, 0.15, 0.4]))
def test_no_image_gives_anything_but_finite_numbers_and_whole_patches_nor_is_changed(
    pixels: np.ndarray, intensity: str, resize: str, pixel_size_um: float | None
) -> None:
    before = pixels.copy()
    spec = spec_with(intensity=intensity, resize=resize, pixel_size_um=0.2)
    out = network_input(ChannelImage(pixels, CHANNELS, pixel_size_um), spec, patch_px=14)
    assert torch.isfinite(out).all()
    assert out.shape[-1] % 14 == 0
    assert out.shape[-2] % 14 == 0
    if resize != "none_pad_to_patch":
        assert out.shape == (1, 2, 42, 42)
    np.testing.assert_array_equal(pixels, before)
