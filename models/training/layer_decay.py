"""Which parameters of a network are trained, and at which share of the learning rate: by depth. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from locatlas.errors import InputError
from locatlas.models.spec import EncoderSpec
from locatlas.models.vit import inner_vit, patch_px

__all__ = ["depth_of", "freeze_but_last", "parameter_groups", "used_depth"]

_TOKENS = ("cls_token", "reg_token", "pos_embed")


def used_depth(network: nn.Module, spec: EncoderSpec) -> int:
    """Blocks of the network that reach its output."""
    return spec.block or len(inner_vit(network).blocks)


def depth_of(name: str, depth: int) -> int:
    """Where a parameter of a vision transformer stands: 0 before the blocks, 1 to `depth` in them, then `depth` + 1.

    Args:
        name: As in the network's `named_parameters()`; of timm's ViT anywhere inside it.
        depth: Number of blocks in use.

    Returns:
        A number in 0 to `depth` + 1. The final norm and what stands behind it (SubCell's pooling) are `depth` + 1, as
        in BEiT.
    """
    parts = name.split(".")
    if "blocks" in parts:
        return int(parts[parts.index("blocks") + 1]) + 1
    inner = parts[1:] if parts[0] in ("vit", "encoder") else parts
    return 0 if inner[0] in (*_TOKENS, "patch_embed", "norm_pre", "rope") else depth + 1


def freeze_but_last(network: nn.Module, spec: EncoderSpec, blocks: int | None) -> list[str]:
    """Set `requires_grad` on what is to be trained, and on nothing else.

    The last blocks in use are trained and what follows them; without a number all blocks, and the patches' projection,
    positions and tokens too. Parameters that do not reach the output (blocks behind `spec.block`) never are; whether
    one does is found by a backward pass of a small image.

    Args:
        network: From `vit.build(spec, any_size=True)`, on the CPU; changed.
        spec: The encoder.
        blocks: How many blocks; None for everything.

    Returns:
        Names of the parameters that are trained.

    Raises:
        InputError: If there are fewer blocks than that, or none is to be trained.
    """
    depth = used_depth(network, spec)
    if blocks is not None and not 1 <= blocks <= depth:
        message = f"encoder {spec.name}: {blocks} of its last blocks to train, from 1 to {depth} can be"
        raise InputError(message)
    first = 0 if blocks is None else depth - blocks + 1
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(depth_of(name, depth) >= first)
    reached = _reached(network, spec)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in reached)
    return reached


def _reached(network: nn.Module, spec: EncoderSpec) -> list[str]:
    """Names of the parameters with `requires_grad` that get a gradient."""
    edge = 2 * patch_px(network)
    image = torch.ones(1, len(spec.slots) + spec.needs_blank, edge, edge)
    wanted = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    found = torch.autograd.grad(network(image).sum(), [parameter for _, parameter in wanted], allow_unused=True)
    return [name for (name, _), gradient in zip(wanted, found, strict=True) if gradient is not None]


def parameter_groups(
    network: nn.Module,
    spec: EncoderSpec,
    heads: Iterable[nn.Parameter] = (),
    *,
    layer_decay: float,
    lr: float,
    weight_decay: float,
    head_scale: float = 1.0,
) -> list[dict[str, Any]]:
    r"""Groups for AdamW, one for each rate and with or without weight decay.

    A parameter at depth i (`depth_of`) learns at :math:`\lambda^{D + 1 - i}` of the rate, D the number of blocks in
    use: the final norm at the full rate, the last block at :math:`\lambda`. Vectors (biases, norms, LayerScale), tokens
    and positions have no weight decay.

    Args:
        network: Its parameters with `requires_grad` are taken.
        spec: The encoder.
        heads: What stands on the network; those with `requires_grad` are taken.
        layer_decay: Lambda, in (0, 1].
        lr: Peak learning rate.
        weight_decay: Of those that decay.
        head_scale: Share of the rate for `heads`.

    Returns:
        Dictionaries of `params`, `lr_scale`, `decays`, `lr` and `weight_decay`; deepest first, heads last.

    References:
        Clark et al. 2020, arXiv:2003.10555; Bao et al. 2021, arXiv:2106.08254 (BEiT), get_parameter_groups.

    Raises:
        InputError: If `layer_decay` or `head_scale` is out of range.
    """
    if not 0 < layer_decay <= 1 or head_scale <= 0:
        message = f"layer-wise decay {layer_decay}, rate of the head {head_scale}: in (0, 1] and > 0 needed"
        raise InputError(message)
    depth = used_depth(network, spec)
    found: dict[tuple[int, float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            at = depth_of(name, depth)
            decays = parameter.ndim > 1 and name.rpartition(".")[2] not in _TOKENS
            found.setdefault((at, layer_decay ** (depth + 1 - at), decays), []).append(parameter)
    for parameter in heads:
        if parameter.requires_grad:
            found.setdefault((depth + 2, head_scale, parameter.ndim > 1), []).append(parameter)
    keys: Sequence[tuple[int, float, bool]] = sorted(found, key=lambda key: (key[0], key[2]))
    return [
        {
            "params": found[key],
            "lr_scale": key[1],
            "decays": key[2],
            "lr": lr * key[1],
            "weight_decay": weight_decay if key[2] else 0.0,
        }
        for key in keys
    ]
