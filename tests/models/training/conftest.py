"""A network of few numbers for the objectives, and images of two kinds that it can learn to tell apart."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from locatlas.models.architectures import OWN, VitShape
from locatlas.models.spec import EncoderSpec

CHANNELS = ("microtubules", "protein", "nucleus", "er")


class Images:
    """`TrainingImages` in memory: stripes in the protein's channel, upright for even ones, wide for odd ones."""

    def __init__(self, n: int = 12, *, channels: tuple[str, ...] = CHANNELS, edge: int = 32, blank: int = 0) -> None:
        random = torch.Generator().manual_seed(5)
        self.channels = channels
        self.pixels = 0.2 + 0.3 * torch.rand(n, len(channels), edge, edge, generator=random)
        protein = channels.index("protein") if "protein" in channels else 0
        self.pixels[::2, protein, :, ::4] += 0.4
        self.pixels[1::2, protein, :, ::16] += 0.4
        if blank:
            self.pixels[..., :blank, :] = 0

    def __len__(self) -> int:
        return len(self.pixels)

    def channels_of(self, i: int) -> tuple[str, ...]:
        return self.channels

    def planes(self, i: int) -> Tensor:
        return self.pixels[i]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, make_spec: Callable[..., EncoderSpec]) -> Callable[..., EncoderSpec]:
    """Makes specs of a network of three blocks, 12 wide, patches of 8 px."""
    shape = VitShape(img_size=32, patch_size=8, width=12, depth=3, heads=3)
    pooled = VitShape(img_size=32, patch_size=8, width=12, depth=2, heads=3, pool_heads=2, pool_width=6)
    monkeypatch.setitem(OWN, "locatlas_pico", shape)
    monkeypatch.setitem(OWN, "subcell_vit_base_patch16", pooled)

    def make(**changes: object) -> EncoderSpec:
        return make_spec(**{"embedding_dim": 12, **changes})

    return make


@pytest.fixture
def images() -> type[Images]:
    """The class, so that tests choose number, channels, size and blank rows."""
    return Images
