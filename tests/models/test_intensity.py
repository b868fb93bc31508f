"""The quick way from integer pixels to scaled planes against the plain one, and numpy's percentiles."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from locatlas.models.intensity import percentiles, standardized
from locatlas.models.spec import EncoderSpec
from locatlas.models.transforms import network_input, resize_and_crop, scale_intensity, standardize
from locatlas.types import ChannelImage

CHANNELS = ("nucleus", "protein")
INTENSITIES = ("unit", "standardize", "minmax", "minmax_joint", "percentile")
RESIZES = ("square", "short_edge_crop", "center_crop_pad", "none_pad_to_patch")


def plain(image: ChannelImage, spec: EncoderSpec) -> torch.Tensor:
    """Scaled whole, in float64 where it matters, then resized by torch: what the quick way must give."""
    planes = resize_and_crop(torch.from_numpy(scale_intensity(image.pixels, spec)), spec)
    return standardize(planes) if spec.intensity == "standardize" else planes


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(INTENSITIES),
    st.sampled_from(RESIZES),
    st.sampled_from(["bilinear", "bicubic"]),
    st.sampled_from([(np.uint8, 0, 256), (np.uint16, 0, 65536), (np.uint16, 200, 4096), (np.uint16, 65000, 65011)]),
    st.tuples(st.integers(32, 90), st.integers(32, 90)),
    st.integers(0, 99),
)
def test_scaling_after_the_resize_gives_the_numbers_of_scaling_before_it(
    intensity: str, resize: str, interpolation: str, kind: tuple, shape: tuple[int, int], seed: int
) -> None:
    dtype, low, high = kind
    pixels = np.random.default_rng(seed).integers(low, high, (2, *shape)).astype(dtype)
    image, before = ChannelImage(pixels, CHANNELS), pixels.copy()
    spec = EncoderSpec(
        name="t", architecture="x", slots=CHANNELS, input_px=32, embedding_dim=4, intensity=intensity, resize=resize,
        interpolation=interpolation, percentiles=(3.0, 99.0),
    )  # fmt: skip
    found, wanted = network_input(image, spec, patch_px=1)[0], plain(image, spec)
    atol = 1e-5 * max(1.0, float(wanted.abs().max()))
    # a sum of squares around a mean far from zero keeps fewer digits in the plain way, which divides by 65535 first
    torch.testing.assert_close(found, wanted, atol=atol if low < 65000 else 5e-2, rtol=0)
    np.testing.assert_array_equal(pixels, before)


def test_two_images_share_no_memory() -> None:
    """The buffer of a thread is overwritten by its next image."""
    rng = np.random.default_rng(0)
    spec = EncoderSpec(
        name="t", architecture="x", slots=CHANNELS, input_px=0, embedding_dim=4, intensity="unit",
        resize="none_pad_to_patch",
    )  # fmt: skip
    images = [ChannelImage(rng.integers(0, 99, (2, 32, 32)).astype(np.uint8), CHANNELS) for _ in range(2)]
    first = network_input(images[0], spec, patch_px=16)
    kept = first.clone()
    network_input(images[1], spec, patch_px=16)
    assert torch.equal(first, kept)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 100, 5000, 20000]),
    st.sampled_from([2, 5, 256, 60000]),
    st.tuples(st.floats(0, 100), st.floats(0, 100)),
    st.integers(0, 99),
    st.booleans(),
)
@example(5000, 60000, (0.0, 99.8), 1, False)
@example(20000, 60000, (99.99, 100.0), 1, True)
def test_percentiles_are_numpys(
    size: int, top: int, wanted: tuple[float, float], seed: int, mostly_black: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, top, size).astype(np.uint16)
    if mostly_black:
        values[rng.random(size) < 0.97] = 0
    np.testing.assert_allclose(percentiles(values, wanted), np.percentile(values, wanted), rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_standardized_is_standardize(value: float) -> None:
    planes = np.random.default_rng(0).random((3, 40, 50), dtype=np.float32) * 1e-3
    planes[1] = value
    torch.testing.assert_close(
        torch.from_numpy(standardized(planes)), standardize(torch.from_numpy(planes)), atol=1e-5, rtol=0
    )
