"""The plain transformer against timm's network with the same weights, which is the oracle: bit for bit."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from locatlas.models import registry, vit
from locatlas.models.architectures import OF_TIMM, OWN
from locatlas.models.plain_vit import PlainViT
from locatlas.models.precision import in_precision
from locatlas.models.spec import Precision
from locatlas.models.torchvision_shim import import_timm
from tests.forking import Forks
from tests.quick import some

SMALL = ["vit_small_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"]


def timms(name: str, *, slots: int = 3, edge: int = 56) -> nn.Module:
    network: nn.Module = import_timm().create_model(
        name, num_classes=0, global_pool="token", in_chans=slots, img_size=edge
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():  # norms and LayerScale, too: timm's start would hide a mistake in them
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize(
    ("name", "precision", "residual"),
    some(
        ((name, *types) for name in SMALL for types in (("fp32", "fp32"), ("bf16", "fp32"), ("bf16", "bf16"))), 0, 4, 8
    ),
)
def test_tokens_are_those_of_timm_bit_for_bit(name: str, precision: Precision, residual: Precision) -> None:
    edge = 4 * OF_TIMM[name].patch_size
    oracle = timms(name, slots=2, edge=edge)
    ours = PlainViT(OF_TIMM[name], 2, edge)
    ours.load_state_dict(oracle.state_dict(), strict=True)
    images = torch.randn(3, 2, edge, edge, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        cpu = torch.device("cpu")
        for network in (oracle, ours):
            in_precision(network, precision, cpu, residual=residual)
        given = images.bfloat16() if residual == "bf16" else images
        found, wanted = ours.forward_features(given), oracle.forward_features(given)  # type: ignore[operator]
    assert torch.equal(found, wanted)
    assert float(found.float().std()) > 0.01


@pytest.mark.parametrize("name", some(sorted(OF_TIMM), 0, 4, 8))
def test_shapes_are_those_that_timm_has_under_the_name(name: str) -> None:
    shape = OF_TIMM[name]
    with torch.device("meta"):
        oracle = import_timm().create_model(name, num_classes=0, global_pool="token")
        ours = PlainViT(shape, 3, shape.img_size)
    expected = {key: tensor.shape for key, tensor in oracle.state_dict().items()}
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == expected
    assert (ours.no_embed_class, ours.num_prefix_tokens) == (oracle.no_embed_class, oracle.num_prefix_tokens)
    assert (shape.heads, shape.norm_eps) == (oracle.blocks[0].attn.num_heads, oracle.norm.eps)
    assert ours.patch_embed.patch_size == oracle.patch_embed.patch_size
    assert ours.patch_embed.grid_size == oracle.patch_embed.grid_size


@pytest.mark.parametrize("name", some(["vit_base_patch16", "subcell_vit_base_patch16", "locatlas_pico_conv"], 1, 2))
def test_locatlas_own_shapes_are_computed_as_timm_computes_them(name: str, make_spec: Callable) -> None:
    pooling = "gated_attention" if OWN[name].pool_heads else "mean"
    spec = make_spec(architecture=name, input_px=64, pooling=pooling)
    ours, oracle = vit.build(spec), vit.build(spec, any_size=True)
    assert type(vit.inner_vit(ours)) is PlainViT
    assert type(vit.inner_vit(oracle)) is not PlainViT
    vit.seed_weights(oracle, 4)
    ours.load_state_dict(oracle.state_dict(), strict=True)
    images = torch.randn(2, len(spec.slots), 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(ours(images), oracle(images))


def test_what_is_not_plain_is_timms(make_spec: Callable) -> None:
    for changes in ({"block": 3}, {"input_px": 0, "resize": "none_pad_to_patch"}):
        spec = make_spec(architecture="vit_small_patch16_224", **changes)
        assert type(vit.inner_vit(vit.build(spec))).__module__ == "timm.models.vision_transformer"
    eva = next(s for s in registry.list_encoders() if "dinov3" in s.name)
    with torch.device("meta"):
        assert type(vit.inner_vit(vit.build(eva))).__module__ == "timm.models.eva"


def test_images_of_another_size_are_refused() -> None:
    network = PlainViT(OWN["locatlas_pico"], 2, 64)
    with pytest.raises(ValueError, match=r"images of \(64, 80\) pixels; the network takes 64 x 64"):
        network.forward_features(torch.zeros(1, 2, 64, 80))


def test_a_plain_encoder_is_loaded_without_timm_and_torchs_compiler(forks: Forks) -> None:
    done = forks.run(
        "import sys\n"
        "from locatlas.models.encode import load_encoder, resolve\n"
        "load_encoder(resolve('locatlas_pico.synthetic'), device='cpu')\n"
        "print(sorted({'timm', 'torchvision', 'torch._dynamo', 'sympy', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
