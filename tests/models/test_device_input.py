"""Preparing on a device against preparing on the processor, which is the reference; here the device is torch's CPU."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from locatlas.errors import ImageRejectedError
from locatlas.models import device_input
from locatlas.models.device_input import network_inputs, percentiles, resized_by_products
from locatlas.models.spec import EncoderSpec
from locatlas.models.transforms import network_input, picked_channels
from locatlas.types import ChannelImage

CHANNELS = ("er", "nucleus", "protein")
SLOTS = ("microtubules", "protein", "nucleus", "er")
PLANS = (
    {},
    {"stains": ("protein", "nucleus")},
    {"mapping": "random", "mapping_seed": 3},
    {"passes": "separate", "stains": ("nucleus", "er")},
    {"mapping": "replicate", "passes": "separate", "stains": ("protein",)},
    {"mean": (0.1, 0.2, 0.3, 0.4), "std": (0.5, 0.6, 0.7, 0.8)},
)
KINDS = ((np.uint8, 0, 256), (np.uint16, 0, 65536), (np.uint16, 200, 4096), (np.uint16, 65000, 65011))
TOLERANCE = 1e-5
"""Of numbers near 1, and relative to the largest number of an image beyond that."""


def spec_of(**changes: object) -> EncoderSpec:
    made = {"name": "t", "architecture": "x", "slots": SLOTS, "input_px": 48, "embedding_dim": 4, **changes}
    return EncoderSpec(**made)  # type: ignore[arg-type]


def on_device(images: list[ChannelImage], spec: EncoderSpec, patch_px: int) -> torch.Tensor:
    used = [picked_channels(image, spec) for image in images]
    pixels = np.stack([one.pixels for one in used])
    bits = torch.from_numpy(pixels.view(np.int16) if pixels.dtype == np.uint16 else pixels)
    size = images[0].pixel_size_um
    return network_inputs(bits, used[0].channels, spec, patch_px=patch_px, pixel_size_um=size)


def assert_equal(found: torch.Tensor, images: list[ChannelImage], spec: EncoderSpec, patch_px: int, tolerance: float):
    assert found.dtype == torch.float32
    for one, image in zip(found, images, strict=True):
        wanted = network_input(image, spec, patch_px=patch_px)
        atol = tolerance * max(1.0, float(wanted.abs().max()))
        torch.testing.assert_close(one, wanted, atol=atol, rtol=0)
        # what is exactly zero for one, empty slots and padding, is for the other
        empty = wanted.flatten(2).eq(0).all(dim=2)
        assert bool(one.flatten(2)[empty].eq(0).all())


@settings(deadline=None)
@given(
    plan=st.sampled_from(PLANS),
    intensity=st.sampled_from(["unit", "standardize", "minmax", "minmax_joint", "percentile"]),
    resize=st.sampled_from(["square", "short_edge_crop", "center_crop_pad", "none_pad_to_patch"]),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    pooling=st.sampled_from(["cls", "spread"]),
    kind=st.sampled_from(KINDS),
    shape=st.tuples(st.integers(20, 130), st.integers(20, 130)),
    scale=st.sampled_from([None, 0.07, 0.2]),
    black=st.sampled_from([0.0, 0.7]),
    n=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@example(
    plan={}, intensity="minmax", resize="square", interpolation="bilinear", pooling="cls", kind=KINDS[3],
    shape=(100, 120), scale=None, black=0.0, n=2, seed=1,
)  # fmt: skip
def test_the_inputs_are_those_of_the_processor(
    plan: dict, intensity: str, resize: str, interpolation: str, pooling: str, kind: tuple, shape: tuple[int, int],
    scale: float | None, black: float, n: int, seed: int,
) -> None:  # fmt: skip
    dtype, low, high = kind
    rng = np.random.default_rng(seed)
    pixels = rng.integers(low, high, (n, 3, *shape)).astype(dtype)
    pixels[rng.random(pixels.shape) < black] = 0
    before = pixels.copy()
    images = [ChannelImage(one, CHANNELS, scale) for one in pixels]
    spec = spec_of(
        intensity=intensity, resize=resize, interpolation=interpolation, pooling=pooling, percentiles=(3.0, 99.0),
        pixel_size_um=0.1, **plan,
    )  # fmt: skip
    # float32 keeps few digits of what little varies far from zero, on the processor too
    narrow = intensity == "standardize" and low >= 65000 and not black
    assert_equal(on_device(images, spec, 16), images, spec, 16, 2e-2 if narrow else TOLERANCE)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("intensity", ["unit", "standardize", "minmax", "minmax_joint", "percentile"])
@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 0), (np.uint8, 255), (np.uint16, 40000), (np.uint16, 65535)])
def test_flat_planes_are_what_they_are_on_the_processor(intensity: str, dtype: type, value: int) -> None:
    """A resize of a constant leaves rounding, which must not be blown up to noise."""
    pixels = np.random.default_rng(0).integers(0, 250, (3, 333, 257)).astype(dtype)
    pixels[1] = value
    images = [ChannelImage(pixels, CHANNELS), ChannelImage(np.full_like(pixels, value), CHANNELS)]
    spec = spec_of(intensity=intensity)
    found = on_device(images, spec, 16)
    assert_equal(found, images, spec, 16, TOLERANCE)
    if intensity == "standardize":
        assert bool(found[1].eq(0).all())


def test_a_flat_plane_stays_flat_on_a_device_whose_sums_round_more(monkeypatch: pytest.MonkeyPatch) -> None:
    real, noise = device_input.resized_by_products, torch.Generator().manual_seed(0)

    def rough(planes: torch.Tensor, *rest: Any) -> torch.Tensor:
        found = real(planes, *rest)
        return found * (1 + 5e-6 * torch.rand(found.shape, generator=noise))

    monkeypatch.setattr(device_input, "resized_by_products", rough)
    pixels = np.full((3, 100, 90), 40000, np.uint16)
    assert bool(on_device([ChannelImage(pixels, CHANNELS)], spec_of(intensity="standardize"), 16).eq(0).all())


def test_a_few_bright_pixels_on_black_are_scaled_by_the_extremes() -> None:
    """Both percentiles are then equal."""
    pixels = np.zeros((3, 60, 60), np.uint16)
    pixels[:, 30, 30] = 999
    images, spec = [ChannelImage(pixels, CHANNELS)], spec_of(intensity="percentile", percentiles=(1.0, 90.0))
    found = on_device(images, spec, 16)
    assert_equal(found, images, spec, 16, TOLERANCE)
    assert float(found.max()) > 0.1


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_tiny_images(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 999, (3, *shape)).astype(np.uint16)
    images, spec = [ChannelImage(pixels, CHANNELS)], spec_of(intensity="percentile")
    assert_equal(on_device(images, spec, 16), images, spec, 16, TOLERANCE)


def test_a_field_of_a_camera() -> None:
    """The size of OpenCell's, where sums are long."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    raw = gaussian_filter(rng.gamma(0.3, 3000.0, size=(3, 600, 600)), (0, 4, 4)) + rng.normal(0, 20, (3, 600, 600))
    images = [ChannelImage(np.clip(raw + 200, 0, 65535).astype(np.uint16), CHANNELS)]
    for intensity in ("standardize", "percentile"):
        spec = spec_of(intensity=intensity, input_px=224)
        assert_equal(on_device(images, spec, 16), images, spec, 16, TOLERANCE)


def test_a_size_that_cannot_be_is_refused_as_on_the_processor() -> None:
    image = ChannelImage(np.zeros((3, 30, 30), np.uint8), CHANNELS, 500.0)
    spec = spec_of(resize="center_crop_pad", pixel_size_um=0.1)
    with pytest.raises(ImageRejectedError) as wanted:
        network_input(image, spec, patch_px=16)
    with pytest.raises(ImageRejectedError) as found:
        on_device([image], spec, 16)
    assert str(found.value) == str(wanted.value)


@settings(deadline=None)
@given(
    st.sampled_from([1, 2, 3, 100, 5000]),
    st.sampled_from([255, 65535]),
    st.sampled_from([2, 5, 256, 60000]),
    st.tuples(st.floats(0, 100), st.floats(0, 100)),
    st.integers(0, 99),
    st.booleans(),
)
@example(5000, 65535, 60000, (0.0, 99.8), 1, False)
@example(5000, 255, 256, (99.99, 100.0), 1, True)
def test_percentiles_are_numpys(
    size: int, top: int, below: int, wanted: tuple[float, float], seed: int, mostly_black: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, min(below, top + 1), (3, size)).astype(np.int32)
    values[2] = top
    if mostly_black:
        values[rng.random(values.shape) < 0.97] = 0
    found = percentiles(torch.from_numpy(values), wanted, top=top)
    for one, q in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.numpy(), np.percentile(values, q, axis=1), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(*[st.integers(2, 90)] * 4, st.sampled_from(["bilinear", "bicubic"]), st.integers(0, 99))
def test_products_give_torchs_antialiased_resize(h: int, w: int, height: int, width: int, mode: str, seed: int) -> None:
    planes = torch.from_numpy(np.random.default_rng(seed).random((2, h, w), dtype=np.float32))
    wanted = functional.interpolate(planes[None], (height, width), mode=mode, antialias=True, align_corners=False)[0]
    torch.testing.assert_close(resized_by_products(planes, height, width, mode), wanted, atol=1e-6, rtol=0)


def test_large_planes_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_input, "LARGEST_PX", 30)
    monkeypatch.setattr(device_input, "_weights", lambda *_: pytest.fail("weights of a large plane"))
    assert resized_by_products(torch.rand(1, 31, 20), 5, 6, "bilinear").shape == (1, 5, 6)
