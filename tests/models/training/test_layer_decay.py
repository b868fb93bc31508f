"""What is trained and how fast, against factors by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from locatlas.errors import InputError
from locatlas.models import vit
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.layer_decay import depth_of, freeze_but_last, parameter_groups


def network_of(spec: EncoderSpec) -> nn.Module:
    network = vit.build(spec, any_size=True)
    vit.seed_weights(network, 0)
    return network


def groups_by_name(network: nn.Module, groups: list[dict]) -> dict[str, dict]:
    found = {id(one): group for group in groups for one in group["params"]}
    return {name: found[id(one)] for name, one in network.named_parameters() if id(one) in found}


def trained(network: nn.Module) -> set[str]:
    return {name for name, one in network.named_parameters() if one.requires_grad}


def test_each_block_learns_half_as_fast_as_the_next(small: Callable) -> None:
    spec = small()
    network = network_of(spec)
    freeze_but_last(network, spec, None)
    head = nn.Linear(12, 2)
    groups = parameter_groups(
        network, spec, head.parameters(), layer_decay=0.5, lr=0.1, weight_decay=0.2, head_scale=3.0
    )
    found = groups_by_name(network, groups)
    by_hand = {
        "vit.cls_token": (1 / 16, False),
        "vit.pos_embed": (1 / 16, False),
        "vit.patch_embed.proj.weight": (1 / 16, True),
        "vit.patch_embed.proj.bias": (1 / 16, False),
        "vit.blocks.0.attn.qkv.weight": (1 / 8, True),
        "vit.blocks.1.norm1.weight": (1 / 4, False),
        "vit.blocks.2.mlp.fc2.weight": (1 / 2, True),
        "vit.norm.weight": (1, False),
    }
    for name, (scale, decays) in by_hand.items():
        group = found[name]
        assert (group["lr_scale"], group["decays"]) == (scale, decays), name
        assert group["lr"] == pytest.approx(0.1 * scale)
        assert group["weight_decay"] == (0.2 if decays else 0)
    assert set(found) == trained(network)
    assert [(group["lr_scale"], group["decays"]) for group in groups[-2:]] == [(3.0, False), (3.0, True)]
    assert groups[-1]["params"][0] is head.weight


def test_every_parameter_is_in_one_group(small: Callable) -> None:
    spec = small()
    network = network_of(spec)
    freeze_but_last(network, spec, None)
    groups = parameter_groups(network, spec, layer_decay=0.75, lr=1, weight_decay=0)
    ids = [id(one) for group in groups for one in group["params"]]
    assert sorted(ids) == sorted(id(one) for one in network.parameters())
    assert len(groups) == 9  # five depths, with and without decay, but no matrix in the final norm


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_only_the_last_blocks_and_what_follows_them_are_trained(blocks: int, small: Callable) -> None:
    spec = small()
    network = network_of(spec)
    freeze_but_last(network, spec, blocks)
    expected = tuple(f"vit.blocks.{3 - 1 - i}." for i in range(blocks))
    assert trained(network) == {
        name for name, _ in network.named_parameters() if name.startswith((*expected, "vit.norm."))
    }


def test_blocks_that_do_not_reach_the_output_are_not_trained(small: Callable) -> None:
    spec = small(block=2)
    network = network_of(spec)
    freeze_but_last(network, spec, 1)
    found = trained(network)
    assert not any(name.startswith(("vit.blocks.0.", "vit.blocks.2.")) for name in found)
    assert any(name.startswith("vit.blocks.1.") for name in found)
    groups = groups_by_name(network, parameter_groups(network, spec, layer_decay=0.5, lr=1, weight_decay=0))
    assert set(groups) == found
    assert groups["vit.blocks.1.mlp.fc1.weight"]["lr_scale"] == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "mean"},
        {"pooling": "spread"},
        {"pooling": "cls_spread", "embedding_dim": 24, "block": 1},
        {"architecture": "subcell_vit_base_patch16", "pooling": "gated_attention", "embedding_dim": 24},
    ],
)
def test_what_is_trained_is_what_gets_a_gradient(changes: dict, small: Callable, images: Callable) -> None:
    spec = small(**changes)
    network = network_of(spec)
    freeze_but_last(network, spec, None)
    batch = torch.rand(2, 4 + spec.needs_blank, 32, 32)
    network(batch).square().sum().backward()
    assert trained(network) == {name for name, one in network.named_parameters() if one.grad is not None}
    assert len(trained(network)) > 10


def test_subcells_pooling_stands_behind_the_blocks() -> None:
    assert depth_of("pool_model.attention.weight", 12) == 13
    assert depth_of("encoder.blocks.11.mlp.fc1.weight", 12) == 12
    assert depth_of("encoder.pos_embed", 12) == 0
    assert depth_of("vit.reg_token", 12) == 0


@pytest.mark.parametrize("blocks", [0, 4, -1])
def test_numbers_of_blocks_that_cannot_be_are_refused(blocks: int, small: Callable) -> None:
    spec = small()
    with pytest.raises(InputError, match=f"{blocks} of its last blocks to train, from 1 to 3"):
        freeze_but_last(network_of(spec), spec, blocks)


@pytest.mark.parametrize("wrong", [{"layer_decay": 0.0}, {"layer_decay": 1.1}, {"layer_decay": 1, "head_scale": 0}])
def test_rates_out_of_range_are_refused(wrong: dict, small: Callable) -> None:
    spec = small()
    with pytest.raises(InputError, match="layer-wise decay"):
        parameter_groups(network_of(spec), spec, lr=1, weight_decay=0, **wrong)
