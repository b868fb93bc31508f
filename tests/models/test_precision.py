"""bfloat16 networks against float32 ones."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from locatlas.errors import InputError
from locatlas.models.precision import for_autocast, full_float32, in_precision
from locatlas.models.torchvision_shim import import_timm

CPU = torch.device("cpu")


def small_vit(patch: int, channels: int, **more: Any) -> nn.Module:
    torch.manual_seed(0)
    size = {"img_size": 14 * patch, "patch_size": patch, "in_chans": channels}
    shape = {"embed_dim": 64, "depth": 4, "num_heads": 2, "num_classes": 0, "init_values": 0.5}
    network: nn.Module = import_timm().models.vision_transformer.VisionTransformer(**size, **shape, **more)
    return network.eval()


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(functional.cosine_similarity(one.float(), other.float(), dim=1).min())


@pytest.mark.parametrize("patch", [8, 14, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8, 16])
def test_a_network_in_bf16_is_the_one_in_fp32(channels: int, patch: int) -> None:
    """On CPUs with AMX torch's own convolutions give noise for some of these."""
    network = small_vit(patch, channels)
    images = torch.rand(2, channels, patch * 14, patch * 14)
    lowered = in_precision(copy.deepcopy(network), "bf16", CPU)
    with torch.inference_mode():
        wanted, found = network(images), lowered(images)
    assert found.dtype == torch.float32
    assert cosine(wanted, found) > 0.9999


def test_its_work_is_in_bf16_and_what_runs_from_block_to_block_is_float32() -> None:
    lowered = in_precision(small_vit(16, 3), "bf16", CPU)
    kinds: dict[str, set[torch.dtype]] = {"attn": set(), "mlp": set(), "other": set()}
    for name, parameter in lowered.named_parameters():
        kinds[next((part for part in ("attn", "mlp") if f".{part}." in name), "other")].add(parameter.dtype)
    assert kinds == {"attn": {torch.bfloat16}, "mlp": {torch.bfloat16}, "other": {torch.float32}}
    met = set[torch.dtype]()
    for block in lowered.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda _, given, found: met.update((given[0].dtype, found.dtype)))
    with torch.inference_mode():
        lowered(torch.rand(1, 3, 224, 224))
    assert met == {torch.float32}


def test_it_is_nearer_to_fp32_than_a_network_that_is_rounded_everywhere() -> None:
    network = small_vit(14, 3)
    everywhere = copy.deepcopy(network).to(torch.bfloat16)
    images = torch.rand(16, 3, 196, 196)
    with torch.inference_mode():
        wanted = network(images)
        ours, theirs = in_precision(copy.deepcopy(network), "bf16", CPU)(images), everywhere(images.to(torch.bfloat16))
    assert 1 - cosine(wanted, ours) < 0.7 * (1 - cosine(wanted, theirs))


class RoundedConv(nn.Module):
    """Weights, bias and result rounded to bfloat16, sums in float32."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.stride = conv.stride
        self.weight, self.bias = (part.detach().bfloat16().float() for part in (conv.weight, conv.bias))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(images.float(), self.weight, self.bias, self.stride).bfloat16()


@pytest.mark.parametrize("channels", [3, 4])
def test_with_its_residual_in_bf16_all_of_it_is_rounded_as_in_earlier_versions(channels: int) -> None:
    network = small_vit(16, channels)
    oracle: Any = copy.deepcopy(network).to(torch.bfloat16)
    oracle.patch_embed.proj = RoundedConv(network.patch_embed.proj)  # type: ignore[union-attr, arg-type]
    images = torch.rand(3, channels, 224, 224)
    with torch.inference_mode():
        found = in_precision(copy.deepcopy(network), "bf16", CPU, residual="bf16")(images)
        wanted, other = oracle(images.bfloat16()), in_precision(network, "bf16", CPU)(images)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted)
    assert not torch.equal(found.float(), other)


def test_a_network_with_turned_positions_has_float32_between_its_blocks_too() -> None:
    torch.manual_seed(0)
    shape = {"img_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 2, "num_classes": 0}
    network = import_timm().models.eva.Eva(**shape, use_rot_pos_emb=True, use_abs_pos_emb=False, init_values=0.5).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        wanted, found = network(images), in_precision(copy.deepcopy(network), "bf16", CPU)(images)
    assert found.dtype == torch.float32
    assert cosine(wanted, found) > 0.9999


def test_blocks_of_another_make_are_refused() -> None:
    side_by_side = import_timm().models.vision_transformer.ParallelThingsBlock
    with pytest.raises(InputError, match=r"ParallelThingsBlock.*use precision fp32"):
        in_precision(small_vit(16, 3, block_fn=side_by_side), "bf16", CPU)


@pytest.mark.parametrize(("channels", "edge"), [(3, 16), (4, 16), (16, 14), (8, 8)])
def test_under_autocast_it_is_that_in_fp32_and_so_are_its_gradients(channels: int, edge: int) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(channels, 32, edge, stride=edge), nn.Flatten(2), nn.Linear(4, 8))
    lowered = copy.deepcopy(plain)
    for_autocast(lowered, torch.device("cpu"))
    images = torch.rand(2, channels, edge * 2, edge * 2)
    wanted = plain(images)
    with torch.autocast("cpu", torch.bfloat16):
        found = lowered(images)
    alike = functional.cosine_similarity(wanted.detach().flatten(), found.detach().float().flatten(), dim=0)
    assert float(alike) > 0.9995
    assert lowered.state_dict().keys() == plain.state_dict().keys()
    wanted.square().sum().backward()
    found.float().square().sum().backward()
    ours, theirs = lowered[0].weight.grad, plain[0].weight.grad
    assert float(functional.cosine_similarity(theirs.flatten(), ours.flatten(), dim=0)) > 0.999
    assert isinstance(copy.deepcopy(lowered)[0], type(lowered[0])), "a teacher is a copy"


def test_fp32_stays_as_it_is() -> None:
    conv = nn.Conv2d(3, 4, 2)
    weight = conv.weight.clone()
    same = in_precision(conv, "fp32", torch.device("cpu"))
    assert same is conv
    assert torch.equal(conv.weight, weight)


def test_a_program_that_asked_for_tf32_has_float32_here_and_its_own_again_afterwards() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        with full_float32(torch.device("cuda")):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        with pytest.raises(ValueError, match="any"), full_float32(torch.device("cuda")):
            raise ValueError("any")
        assert torch.get_float32_matmul_precision() == "high"
        with full_float32(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
