"""What is taken from tokens, against numpy and the published computation cut short."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from locatlas.errors import InputError
from locatlas.models import vit
from locatlas.models.encode import load_encoder
from locatlas.models.pooling import spread
from locatlas.models.transforms import network_input
from locatlas.types import ChannelImage
from tests.models import published
from tests.models.test_vit import hugging_face_vit, randomized
from tests.quick import some

RGB = {"slots": ("a", "b", "c"), "input_px": 28}


def images_and_shares(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Two images of 2 x 2 patches of 16 px, and the share that each patch shows."""
    images = torch.from_numpy(rng.standard_normal((2, 4, 32, 32)).astype(np.float32))
    shown = torch.ones(2, 1, 32, 32)
    shown[0, 0, :, 12:] = 0
    shown[1, 0, 28:, 16:] = 0
    shares = torch.tensor([[0.75, 0, 0.75, 0], [1, 1, 1, 0.75]])
    return torch.cat([images, shown], dim=1), shares


def weighted_sd(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean = np.average(values, axis=0, weights=weights)
    return np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))


@pytest.mark.parametrize("block", [None, 1, 4, 11])
@pytest.mark.parametrize("pooling", ["cls", "mean", "spread", "cls_spread"])
def test_tokens_of_a_block_are_those_of_a_network_that_ends_there(
    pooling: str, block: int | None, tiny: None, make_spec: Callable, rng: np.random.Generator
) -> None:
    network = randomized(make_spec(architecture="vit_base_patch16", pooling=pooling, block=block))
    named = {f"encoder.{name}": tensor for name, tensor in vit.weights_module(network).state_dict().items()}
    images, shares = images_and_shares(rng)
    weights = published.subcell(named, dropout=True)
    tokens = hugging_face_vit(weights, images[:, :4], heads=3, depth=block or 11, eps=1e-6)
    sd = torch.stack(
        [
            torch.from_numpy(weighted_sd(own[1:].numpy(), share.numpy()))
            for own, share in zip(tokens, shares, strict=True)
        ]
    )
    expected = {"cls": tokens[:, 0], "mean": tokens[:, 1:].mean(1), "spread": sd}
    expected["cls_spread"] = torch.cat([tokens[:, 0], sd], dim=1)
    found = network(images if "spread" in pooling else images[:, :4])
    assert found.shape[1] == vit.embedding_dim(network)
    torch.testing.assert_close(found.double(), expected[pooling], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    some(
        itertools.product(["vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"], ["cls", "mean", "spread"]),
        1,
        5,
    ),
)
def test_the_last_block_is_all_of_them_with_registers_and_rotary_positions_too(
    architecture: str, pooling: str, make_spec: Callable
) -> None:
    edge = 28 if "14" in architecture else 32
    images = torch.rand(1, 4, edge, edge, generator=torch.Generator().manual_seed(0))
    whole, ended = (
        vit.build(make_spec(**RGB | {"input_px": edge}, architecture=architecture, pooling=pooling, block=block))
        for block in (None, 12)
    )
    vit.seed_weights(whole, 0)
    vit.weights_module(ended).load_state_dict(vit.weights_module(whole).state_dict())
    found = [network(images if pooling == "spread" else images[:, :3]) for network in (whole, ended)]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_blocks_that_follow_are_not_computed(make_spec: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    network = vit.build(make_spec(block=2))
    calls = []
    for number, one in enumerate(network.vit.blocks):
        monkeypatch.setattr(one, "forward", lambda x, number=number: calls.append(number) or x)
    network(torch.zeros(1, 4, 32, 32))
    assert calls == [0, 1]


def test_a_block_that_the_network_lacks_is_refused(make_spec: Callable) -> None:
    with pytest.raises(InputError, match="block 5 asked for, locatlas_pico has 4"):
        vit.build(make_spec(block=5))


def test_where_everything_is_blank_all_patches_count_alike(rng: np.random.Generator) -> None:
    tokens = torch.from_numpy(rng.standard_normal((1, 6, 5)).astype(np.float32))
    torch.testing.assert_close(spread(tokens, torch.zeros(1, 6)), tokens.std(1, correction=0))
    assert spread(tokens[:, :1], torch.ones(1, 1)).tolist() == [[0.0] * 5]


def test_the_spread_of_a_single_patch_has_no_slope_rather_than_an_infinite_one(rng: np.random.Generator) -> None:
    tokens = torch.from_numpy(rng.standard_normal((2, 6, 5)).astype(np.float32)).requires_grad_()
    spread(tokens, torch.tensor([[0.0, 0.5, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]])).sum().backward()
    assert tokens.grad is not None
    assert (tokens.grad[0] == 0).all()
    assert (tokens.grad[1, :2] != 0).all()
    assert torch.isfinite(tokens.grad).all()


def test_patches_without_picture_do_not_change_the_spread(make_spec: Callable, rng: np.random.Generator) -> None:
    """Whatever tokens the black ones get, and however many there are."""
    spec = make_spec(pooling="spread", input_px=64)
    network = vit.build(spec)
    vit.seed_weights(network, 0)

    class Scribbled(nn.Module):
        """Other tokens where nothing is shown."""

        num_prefix_tokens, patch_embed = 1, network.vit.patch_embed

        def __init__(self, scribble: float) -> None:
            super().__init__()
            self.scribble = scribble

        def forward_features(self, images: Tensor) -> Tensor:
            tokens = torch.arange(17.0)[None, :, None].repeat(len(images), 1, 3).sin()
            tokens[:, 1 + 8 :] = self.scribble
            return tokens

    pixels = np.zeros((1, 64, 64), np.uint8)
    pixels[0, :32] = rng.integers(1, 255, (32, 64))
    made = network_input(ChannelImage(pixels, ("protein",)), spec, patch_px=16)
    found = []
    for scribble in (0.0, 50.0):
        network.vit = Scribbled(scribble)
        found.append(network(made))
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0][0, 0], torch.arange(1.0, 9.0).sin().std(correction=0))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("passes", [{}, {"stains": ("protein", "nucleus"), "passes": "separate"}])
def test_an_encoder_with_spreads_gives_vectors_of_the_length_it_says(
    passes: dict, precision: str, make_spec: Callable, image: ChannelImage
) -> None:
    spec = make_spec(pooling="cls_spread", block=2, embedding_dim=384, precision=precision, **passes)
    vectors = load_encoder(spec, device="cpu").encode([image, image])
    assert vectors.shape == (2, spec.dim)
    assert (vectors[0] == vectors[1]).all()
    assert (vectors[:, 192:384] >= 0).all()
    assert vectors[0, 192:384].max() > 0
