"""What training sees before augmentation, against what the network gets when it embeds."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.models.channels import assemble, plan
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.planes import FAINTEST, training_planes
from locatlas.models.transforms import network_input, standardize
from locatlas.types import ChannelImage

CHANNELS = ("protein", "nucleus")


def a_spec(**changes: Any) -> EncoderSpec:
    fields: dict[str, Any] = {
        "name": "x.y", "architecture": "locatlas_pico", "slots": ("nucleus", "protein", "er"), "input_px": 32,
        "embedding_dim": 192, "weights_sha256": "seed:0",
    }  # fmt: skip
    return EncoderSpec(**{**fields, **changes})


def noise(rng: np.random.Generator, dtype: str, edge: int = 48) -> ChannelImage:
    pixels: NDArray[Any] = rng.integers(3, 220, (2, edge, edge)).astype(dtype)
    return ChannelImage(pixels / 300 if dtype == "float32" else pixels, CHANNELS, None)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("intensity", ["unit", "standardize", "minmax", "minmax_joint", "percentile"])
def test_planes_in_their_slots_are_what_the_network_gets_to_float16(
    rng: np.random.Generator, intensity: Any, dtype: str
) -> None:
    spec, image = a_spec(intensity=intensity, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)), noise(rng, dtype)
    image = ChannelImage(image.pixels.astype(dtype), CHANNELS, None)
    planes = training_planes(image, ("nucleus", "protein"), spec)
    assert planes.dtype == torch.float16
    assert 0 <= float(planes.min()) <= float(planes.max()) <= 1
    ready = standardize(planes.float()) if intensity == "standardize" else planes.float()
    mine = assemble(ready, ("nucleus", "protein"), plan(spec, CHANNELS), spec)
    torch.testing.assert_close(mine, network_input(image, spec, patch_px=16), atol=6e-3, rtol=0)


def test_zero_is_blank_and_only_blank_where_the_pooling_has_to_know(rng: np.random.Generator) -> None:
    pixels = np.full((2, 32, 32), 7, dtype=np.uint16)
    pixels[:, 8:16, 8:16] = rng.integers(8, 900, (2, 8, 8))
    pixels[:, :, :4] = 0
    pixels[:, 20, 20] = 0
    planes = training_planes(ChannelImage(pixels, CHANNELS, None), CHANNELS, a_spec(pooling="spread", input_px=32))
    np.testing.assert_array_equal((planes == 0).all(dim=0).numpy(), (pixels == 0).all(axis=0))
    # without blank parts the darkest pixels would be 0
    whole = np.maximum(pixels, 7)
    assert float(training_planes(ChannelImage(whole, CHANNELS, None), CHANNELS, a_spec(pooling="spread")).min()) > 0
    assert float(training_planes(ChannelImage(whole, CHANNELS, None), CHANNELS, a_spec()).min()) == 0
    assert float(torch.tensor(FAINTEST).half()) == FAINTEST


def test_an_image_without_the_channel_or_with_nan_is_refused_with_the_reason(rng: np.random.Generator) -> None:
    with pytest.raises(ImageRejectedError, match="image lacks channel er: it has protein, nucleus"):
        training_planes(noise(rng, "uint8"), ("nucleus", "er"), a_spec())
    broken = noise(rng, "float32").pixels.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(ImageRejectedError, match="NaN"):
        training_planes(ChannelImage(broken, CHANNELS, None), CHANNELS, a_spec())
