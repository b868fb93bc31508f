"""Small networks under the names of the real ones, and images for them."""

from collections.abc import Callable

import numpy as np
import pytest

from locatlas.models.architectures import OWN, VitShape
from locatlas.models.spec import EncoderSpec
from locatlas.types import ChannelImage

TINY = {
    "vit_base_patch16": VitShape(img_size=32, patch_size=16, width=24, depth=11, heads=3),
    "cell_dino_vit_large_patch16": VitShape(img_size=32, patch_size=16, width=24, depth=4, heads=3, layer_scale=1.0),
    "subcell_vit_base_patch16": VitShape(
        img_size=32, patch_size=16, width=24, depth=2, heads=3, norm_eps=1e-12, pool_heads=2, pool_width=10
    ),
}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """locatlas' own architectures with the published structure but few numbers."""
    for name, shape in TINY.items():
        monkeypatch.setitem(OWN, name, shape)


@pytest.fixture
def make_spec() -> Callable[..., EncoderSpec]:
    """A spec with defaults for whatever a test is not about."""

    def make(**changes: object) -> EncoderSpec:
        fields: dict = {
            "name": "test.spec",
            "architecture": "locatlas_pico",
            "slots": ("microtubules", "protein", "nucleus", "er"),
            "input_px": 32,
            "embedding_dim": 192,
            "weights_sha256": "seed:0",
            "intensity": "unit",
        }
        return EncoderSpec(**{**fields, **changes})

    return make


@pytest.fixture
def image(rng: np.random.Generator) -> ChannelImage:
    """OpenCell's two channels, uint16, not square."""
    pixels = rng.integers(0, 2**16, (2, 40, 52), dtype=np.uint16)
    return ChannelImage(pixels, ("nucleus", "protein"), pixel_size_um=0.2)
