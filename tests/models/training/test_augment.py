"""Random views, against embedding's own inputs and hand-made images."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.augment import Augmentation, crop_box, plain_view, random_view
from locatlas.models.training.planes import training_planes
from locatlas.models.training.sampling import generator
from locatlas.models.transforms import network_input
from locatlas.types import ChannelImage

STILL = Augmentation(
    scale=(1, 1), aspect=1, flips=False, rotations=False, brightness=0, contrast=0, rescale_protein=0, drop_channel=0
)
BLANKS = {"pooling": "spread"}


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    low=st.floats(0.05, 1),
    high=st.floats(0.05, 1),
    seed=st.integers(0, 2**31),
)
def test_crops_lie_inside_with_area_and_ratio_as_asked(
    height: int, width: int, low: float, high: float, seed: int
) -> None:
    low, high = min(low, high), max(low, high)
    top, left, h, w = crop_box(height, width, Augmentation(scale=(low, high)), generator(seed))
    assert top >= 0
    assert left >= 0
    assert 1 <= h <= height - top
    assert 1 <= w <= width - left
    assert h * w <= high * height * width + (h + w) / 2 + 1
    if h < height and w < width:  # not cut off by the image's edge
        assert h * w >= low * height * width - (h + w) / 2 - 1
        assert (h - 0.5) / (w + 0.5) <= 4 / 3
        assert (w - 0.5) / (h + 0.5) <= 4 / 3


def test_crops_fall_everywhere_and_take_all_areas() -> None:
    boxes = np.array([crop_box(100, 100, Augmentation(scale=(0.1, 0.9)), generator(seed)) for seed in range(2000)])
    areas = boxes[:, 2] * boxes[:, 3] / 1e4
    assert abs(areas.mean() - 0.5) < 0.02
    assert (boxes[:, 0] == 0).any()
    assert (boxes[:, 1] + boxes[:, 3] == 100).any()
    assert abs((boxes[:, 0] + boxes[:, 2] / 2).mean() - 50) < 1


def test_with_nothing_to_vary_it_is_the_image_as_embedding_sees_it(small: Callable, images: Callable) -> None:
    spec = small(mean=(0.1, 0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7, 0.8))
    made = images()
    view = random_view(made.planes(0), made.channels, spec, STILL, generator(0), edge_px=32)
    torch.testing.assert_close(view, plain_view(made.planes(0), made.channels, spec, patch_px=8), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("intensity", ["unit", "standardize", "minmax"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resize": "center_crop_pad", "input_px": 64},
        {"resize": "none_pad_to_patch", "input_px": 0},
        {"passes": "separate", "stains": ("protein", "nucleus")},
        {"mapping": "replicate", "passes": "separate", "stains": ("nucleus", "protein")},
        {"pooling": "cls_spread", "resize": "center_crop_pad", "input_px": 64},
    ],
)
def test_whole_images_are_those_of_embedding(
    intensity: str, changes: dict, small: Callable, image: ChannelImage
) -> None:
    spec = small(intensity=intensity, **changes)
    channels = spec.stains or ("protein", "nucleus")
    found = plain_view(training_planes(image, channels, spec), channels, spec, patch_px=8)
    torch.testing.assert_close(found, network_input(image, spec, patch_px=8), rtol=2e-3, atol=2e-3)


def test_a_view_is_a_function_of_its_key(small: Callable, images: Callable) -> None:
    made = images()
    found = [
        random_view(made.planes(0), made.channels, small(), Augmentation(), generator(*key), edge_px=16)
        for key in ((0, 1, 2), (0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3))
    ]
    assert torch.equal(found[0], found[1])
    for i in range(1, 5):
        for j in range(i + 1, 5):
            assert not torch.equal(found[i], found[j])


def test_the_image_is_not_changed(small: Callable, images: Callable) -> None:
    made = images()
    before = made.pixels.clone()
    for seed in range(20):
        random_view(made.planes(0), made.channels, small(), Augmentation(), generator(seed), edge_px=32)
    assert torch.equal(made.pixels, before)


def test_the_protein_is_never_lost_and_others_are_as_often_as_said(small: Callable, images: Callable) -> None:
    made = images()
    spec = small(mean=(0.1,) * 4)
    varied = Augmentation(drop_channel=0.3)
    lost = np.zeros(4)
    for seed in range(600):
        view = random_view(made.planes(0), made.channels, spec, varied, generator(seed), edge_px=8)
        gone = (view[0] == 0).all(dim=(1, 2)).numpy()
        assert gone.sum() <= 1
        lost += gone
    assert lost[1] == 0
    np.testing.assert_allclose(lost[[0, 2, 3]] / 600, 0.1, atol=0.04)


def test_several_stains_are_lost_at_once_where_that_is_asked_for(small: Callable, images: Callable) -> None:
    made = images()
    varied = Augmentation(drop_channel=1, drop_most=3)
    left = [
        int(
            (random_view(made.planes(0), made.channels, small(), varied, generator(seed), edge_px=8)[0] != 0)
            .any(2)
            .any(1)
            .sum()
        )
        for seed in range(300)
    ]
    np.testing.assert_allclose([left.count(n) / 300 for n in (1, 2, 3)], 1 / 3, atol=0.09)


@pytest.mark.parametrize("channels", [("protein",), ("nucleus",)])
def test_a_lone_channel_is_never_lost(channels: tuple[str, ...], small: Callable, images: Callable) -> None:
    made = images(channels=channels)
    for seed in range(20):
        view = random_view(made.planes(0), channels, small(), Augmentation(drop_channel=1), generator(seed), edge_px=8)
        assert (view != 0).any()


def test_separate_passes_lose_nothing(small: Callable, images: Callable) -> None:
    made = images(channels=("nucleus", "protein"))
    spec = small(passes="separate", stains=("nucleus", "protein"))
    for seed in range(20):
        view = random_view(
            made.planes(0), made.channels, spec, Augmentation(drop_channel=1), generator(seed), edge_px=8
        )
        assert (view != 0).flatten(1).any(dim=1).all()


@given(seed=st.integers(0, 2**31))
def test_blank_parts_stay_exactly_blank_and_are_marked(seed: int) -> None:
    spec = EncoderSpec(
        name="t", architecture="locatlas_pico", slots=("protein", "nucleus"), input_px=32, embedding_dim=12,
        pooling="spread", intensity="unit", interpolation="bilinear",
    )  # fmt: skip
    planes = 0.1 + 0.9 * torch.rand(2, 40, 40, generator=torch.Generator().manual_seed(0))
    planes[:, :, :22] = 0
    planes[0, 30:] = 0  # one channel alone is no blank
    view = random_view(planes, ("protein", "nucleus"), spec, Augmentation(scale=(0.3, 1)), generator(seed), edge_px=32)
    shown = view[0, -1]
    assert view.shape == (1, 3, 32, 32)
    assert ((shown >= 0) & (shown <= 1)).all()
    assert (view[0, :-1][:, shown == 0] == 0).all()
    assert (view[0, :-1] <= 1).all()
    if (shown == 0).any():
        edges = torch.cat([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
        assert (edges == 0).any()


def test_brightness_scales_and_contrast_stretches_around_the_mean(small: Callable, images: Callable) -> None:
    """The two factors are found again from mean and range; every pixel must follow from them."""
    plane = images(channels=("protein",)).planes(0) * 0.5  # far from 1, where brightness is cut off
    spec = small(slots=("protein",))
    varied = replace(STILL, brightness=0.3, contrast=0.3)
    factors = []
    for seed in range(20):
        found = random_view(plane, ("protein",), spec, varied, generator(seed), edge_px=32)[0]
        bright = found.mean() / plane.mean()
        contrast = (found.max() - found.min()) / (plane.max() - plane.min()) / bright
        scaled = bright * plane
        torch.testing.assert_close(found, contrast * scaled + (1 - contrast) * scaled.mean(), rtol=1e-4, atol=1e-5)
        factors.append([float(bright), float(contrast)])
    assert np.min(factors) > 0.7 - 1e-4
    assert np.max(factors) < 1.3 + 1e-4
    assert (np.ptp(factors, axis=0) > 0.3).all()


def test_the_mean_of_the_contrast_leaves_blank_parts_out(small: Callable) -> None:
    plane = torch.zeros(1, 32, 32)
    plane[:, :8] = 0.4
    for seed in range(10):
        found = random_view(
            plane, ("protein",), small(slots=("protein",)), replace(STILL, contrast=1), generator(seed), edge_px=32
        )
        torch.testing.assert_close(found[0], plane, rtol=1e-5, atol=1e-6)  # flat where it is not blank


def test_only_the_protein_is_rescaled(small: Callable, images: Callable) -> None:
    made = images()
    factors = []
    for seed in range(200):
        varied = replace(STILL, rescale_protein=0.5)
        view = random_view(made.planes(0) * 0.4, made.channels, small(), varied, generator(seed), edge_px=32)[0]
        ratio = view.mean(dim=(1, 2)) / (made.planes(0) * 0.4).mean(dim=(1, 2))
        assert ratio[[0, 2, 3]].tolist() == pytest.approx([1, 1, 1], abs=1e-5)
        factors.append(float(ratio[1]))
    same = np.isclose(factors, 1, atol=1e-5)
    assert 0.35 < same.mean() < 0.65
    assert 0 <= min(factors) < 0.2
    assert 1.8 < max(factors) <= 2


def test_all_eight_ways_to_lay_an_image_come(small: Callable, images: Callable) -> None:
    made = images()
    varied = replace(STILL, flips=True, rotations=True)
    found = {
        random_view(made.planes(0), made.channels, small(), varied, generator(seed), edge_px=32).numpy().tobytes()
        for seed in range(100)
    }
    assert len(found) == 8


@pytest.mark.parametrize(
    "wrong", [{"scale": (0, 1)}, {"scale": (0.5, 0.4)}, {"drop_channel": 1.5}, {"aspect": 0.5}, {"drop_most": 0}]
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="augmentation"):
        Augmentation(**wrong)
