"""Networks against formulas written out again, from the tensors under their published names."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from locatlas.errors import InputError, UnknownNameError
from locatlas.models import registry, vit
from locatlas.models.layouts import convert
from tests.models import published
from tests.quick import some

ENCODERS = registry.list_encoders()

# Of seed 0 for locatlas_pico; stored atlases rest on them.
PATCH_START = [0.05280323326587677, -0.03377818688750267, 0.04782964661717415]
FC2_SUM = -4.388300500810146


def randomized(spec: object, seed: int = 3) -> torch.nn.Module:
    network = vit.build(spec)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network


def hugging_face_vit(state: dict[str, Tensor], images: Tensor, *, heads: int, depth: int, eps: float) -> Tensor:
    """Tokens after the final norm, step by step as in transformers' ViTModel, in float64."""
    w = {name: tensor.double() for name, tensor in state.items()}

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        scaled = centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    patches = functional.unfold(images.double(), 16, stride=16).transpose(1, 2)
    kernel = w["encoder.embeddings.patch_embeddings.projection.weight"].flatten(1)
    x = patches @ kernel.T + w["encoder.embeddings.patch_embeddings.projection.bias"]
    x = torch.cat([w["encoder.embeddings.cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + w["encoder.embeddings.position_embeddings"]
    for i in range(depth):
        layer = f"encoder.encoder.layer.{i}"
        h = norm(x, f"{layer}.layernorm_before")
        q, k, v = (
            linear(h, f"{layer}.attention.attention.{part}").unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        attention = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + linear((attention @ v).transpose(1, 2).flatten(2), f"{layer}.attention.output.dense")
        h = linear(norm(x, f"{layer}.layernorm_after"), f"{layer}.intermediate.dense")
        h = h * 0.5 * (1 + torch.erf(h / 2**0.5))
        x = x + linear(h, f"{layer}.output.dense")
    return norm(x, "encoder.layernorm")


def gated_attention_pooling(state: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """SubCellPortable's pooling, head by head."""
    w = {name: tensor.double() for name, tensor in state.items() if name.startswith("pool_model")}
    v = torch.tanh(tokens @ w["pool_model.attention_v.1.weight"].T + w["pool_model.attention_v.1.bias"])
    u = tokens @ w["pool_model.attention_u.1.weight"].T + w["pool_model.attention_u.1.bias"]
    u = u * 0.5 * (1 + torch.erf(u / 2**0.5))
    logits = (v * u) @ w["pool_model.attention.weight"].T + w["pool_model.attention.bias"]
    heads = []
    for h in range(logits.shape[-1]):
        weights = logits[..., h].exp() / logits[..., h].exp().sum(1, keepdim=True)
        heads.append((weights[..., None] * tokens).sum(1))
    return torch.cat(heads, dim=1)


def test_subcell_equals_its_published_computation(tiny: None, make_spec: Callable, rng: np.random.Generator) -> None:
    spec = make_spec(architecture="subcell_vit_base_patch16", slots=("nucleus", "protein"), pooling="gated_attention")
    network = randomized(spec)
    files = published.subcell(dict(network.state_dict()), dropout=True)
    images = torch.from_numpy(rng.standard_normal((3, 2, 32, 32)).astype(np.float32))
    tokens = hugging_face_vit(files, images, heads=3, depth=2, eps=1e-12)
    expected = gated_attention_pooling(files, tokens)

    loaded = vit.build(spec)
    loaded.load_state_dict(convert(files).tensors)
    torch.testing.assert_close(loaded(images).double(), expected, rtol=1e-4, atol=1e-4)
    assert expected.shape == (3, 48)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_dino_equals_its_published_computation(
    pooling: str, tiny: None, make_spec: Callable, rng: np.random.Generator
) -> None:
    """The same network under SubCell's names gives an oracle for the plain one; epsilon differs."""
    spec = make_spec(architecture="vit_base_patch16", pooling=pooling)
    network = randomized(spec)
    named = {f"encoder.{name}": tensor for name, tensor in vit.weights_module(network).state_dict().items()}
    images = torch.from_numpy(rng.standard_normal((2, 4, 32, 32)).astype(np.float32))
    tokens = hugging_face_vit(published.subcell(named, dropout=True), images, heads=3, depth=11, eps=1e-6)
    expected = tokens[:, 0] if pooling == "cls" else tokens[:, 1:].mean(1)
    torch.testing.assert_close(network(images).double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spec", some(ENCODERS, *range(0, len(ENCODERS), 3)), ids=lambda spec: spec.name)
def test_every_registered_encoder_can_be_built_as_its_spec_says(spec: registry.EncoderSpec) -> None:
    with torch.device("meta"):  # no memory, no arithmetic: only shapes
        network = vit.build(spec)
        edge = -(-spec.input_px // vit.patch_px(network)) * vit.patch_px(network)
        images = torch.zeros(2, len(spec.slots), edge, edge)
    assert vit.embedding_dim(network) == spec.embedding_dim
    weight = next(vit.inner_vit(network).patch_embed.proj.parameters())  # of a stem: its first convolution
    assert weight.shape[1] == len(spec.slots)
    assert network(images).shape == (2, spec.embedding_dim)


def test_any_size_is_taken_where_the_spec_fixes_none(make_spec: Callable) -> None:
    network = vit.build(make_spec(input_px=0, resize="none_pad_to_patch"))
    vit.seed_weights(network, 0)
    for height, width in ((16, 16), (48, 80), (224, 224)):
        assert network(torch.zeros(1, 4, height, width)).shape == (1, 192)


def test_registers_and_cls_do_not_enter_the_mean(make_spec: Callable) -> None:
    spec = make_spec(architecture="vit_small_patch14_reg4_dinov2", input_px=28, pooling="mean", slots=("a", "b", "c"))
    network = vit.build(spec)
    vit.seed_weights(network, 0)
    images = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    tokens = network.vit.forward_features(images)
    assert tokens.shape == (1, 1 + 4 + 4, 384)
    torch.testing.assert_close(network(images), tokens[:, 5:].mean(1))


def test_seeded_weights_are_the_same_on_every_machine(make_spec: Callable) -> None:
    network = vit.build(make_spec(input_px=224))
    vit.seed_weights(network, 0)
    state = vit.weights_module(network).state_dict()
    assert state["patch_embed.proj.weight"].flatten()[:3].tolist() == PATCH_START
    assert state["blocks.3.mlp.fc2.weight"].double().sum().item() == pytest.approx(FC2_SUM, rel=1e-12)


def test_seeds_differ_and_seeding_leaves_torchs_own_generator(make_spec: Callable) -> None:
    network = vit.build(make_spec())
    before = torch.random.get_rng_state()
    vit.seed_weights(network, 0)
    first = network.vit.cls_token.clone()
    vit.seed_weights(network, 1)
    assert not torch.equal(first, network.vit.cls_token)
    assert torch.equal(before, torch.random.get_rng_state())


def test_layer_scale_does_not_keep_timms_tiny_start(make_spec: Callable) -> None:
    """At 1e-5 all CLS tokens agree to rounding, and neighbors are noise."""
    spec = make_spec(architecture="vit_small_patch14_dinov2", input_px=28, slots=("a", "b", "c"))
    network = vit.build(spec, any_size=True)  # timm's own
    assert float(network.vit.blocks[0].ls1.gamma[0]) == pytest.approx(1e-5)
    vit.seed_weights(network, 0)
    assert float(network.vit.blocks[0].ls1.gamma[0]) == 1.0


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        (
            {"architecture": "vit_smal_patch16"},
            UnknownNameError,
            "unknown architecture 'vit_smal_patch16' .any of timm's ViTs will do.; did you mean 'vit_small_patch16_",
        ),
        # counted are all that would do, not those that look alike
        ({"architecture": "vit_smal"}, UnknownNameError, r"'vit_small_patch\d.* [2-9]\d\d are known$"),
        ({"architecture": "resnet18"}, InputError, "resnet18 is timm's resnet"),
        ({"pooling": "gated_attention"}, InputError, "'gated_attention' does not belong to architecture locatlas_pico"),
        ({"architecture": "subcell_vit_base_patch16"}, InputError, "'cls' does not belong"),
    ],
)
def test_a_network_that_cannot_be_is_refused(changes: dict, error: type, reason: str, make_spec: Callable) -> None:
    with pytest.raises(error, match=reason):
        vit.build(make_spec(**changes))
