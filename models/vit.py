"""Build the network of a spec, without its weights: plain vision transformers, and any that timm has. Pure."""

import math
from functools import partial
from typing import Any

import torch
from torch import nn

from locatlas.errors import InputError, UnknownNameError
from locatlas.models.architectures import OF_TIMM, OWN, VitShape
from locatlas.models.plain_vit import PlainViT
from locatlas.models.pooling import PooledViT
from locatlas.models.spec import EncoderSpec, Pooling
from locatlas.models.stem import conv_stem
from locatlas.models.subcell import GatedAttentionPooler, SubCellEncoder
from locatlas.models.torchvision_shim import import_timm

__all__ = [
    "build",
    "default_pooling",
    "embedding_dim",
    "inner_vit",
    "patch_px",
    "seed_weights",
    "weights_module",
]


def build(spec: EncoderSpec, *, any_size: bool = False) -> nn.Module:
    """The network of a spec on the CPU in evaluation mode; its weights are arbitrary until loaded or seeded.

    Its inputs are (b, len(slots), h, w), with one plane more for a pooling that has to know what is blank
    (`transforms.network_input`), its outputs (b, embedding_dim). With `input_px` 0, and with
    `none_pad_to_patch`, it takes any multiple of the patch and resamples positions on the way.

    Args:
        spec: The encoder.
        any_size: Let a network of a fixed input size take crops of other sizes as well, as training does; its positions
            stay those of the fixed size, so its weights are those of the network without this.

    Raises:
        UnknownNameError: If neither locatlas nor timm has the architecture.
        InputError: If the pooling does not belong to the architecture, or it has fewer blocks than the spec asks for.
    """
    shape = OWN.get(spec.architecture)
    if (spec.pooling == "gated_attention") != (shape is not None and shape.pool_heads > 0):
        message = f"encoder {spec.name}: pooling {spec.pooling!r} does not belong to architecture {spec.architecture}"
        raise InputError(message)
    vit: Any = _plain_vit(spec) if not any_size else None
    if vit is None:
        vit = _timm_vit(spec, any_size=any_size) if shape is None else _own_vit(spec, shape, any_size=any_size)
    network: nn.Module
    if shape is not None and shape.pool_heads:
        network = SubCellEncoder(vit, GatedAttentionPooler(shape.width, shape.pool_width, shape.pool_heads))
    else:
        depth = len(vit.blocks)
        if spec.block is not None and spec.block > depth:
            message = f"encoder {spec.name}: block {spec.block} asked for, {spec.architecture} has {depth}"
            raise InputError(message)
        network = PooledViT(vit, spec.pooling, spec.block)
    return network.eval().requires_grad_(requires_grad=False)


def default_pooling(architecture: str) -> Pooling:
    """`gated_attention` for an architecture that has it, else `cls`."""
    shape = OWN.get(architecture)
    return "gated_attention" if shape is not None and shape.pool_heads else "cls"


def _plain_vit(spec: EncoderSpec) -> nn.Module | None:
    """The network without timm, where the spec asks for no more than a plain one for images of one size."""
    shape = OWN.get(spec.architecture) or OF_TIMM.get(spec.architecture)
    if shape is None or spec.block is not None or not spec.input_px or spec.resize == "none_pad_to_patch":
        return None
    return PlainViT(shape, len(spec.slots), math.ceil(spec.input_px / shape.patch_size) * shape.patch_size)


def _size_arguments(spec: EncoderSpec, patch: int, *, any_size: bool) -> dict[str, Any]:
    """Arguments of timm for the input's size: fixed and rounded up to the patch, or any."""
    if spec.input_px and spec.resize != "none_pad_to_patch":
        return {
            "img_size": math.ceil(spec.input_px / patch) * patch,
            **({"dynamic_img_size": True} if any_size else {}),
        }
    return {"dynamic_img_size": True}


def _own_vit(spec: EncoderSpec, shape: VitShape, *, any_size: bool) -> nn.Module:
    timm = import_timm()
    arguments = {"img_size": shape.img_size, **_size_arguments(spec, shape.patch_size, any_size=any_size)}
    vit: Any = timm.models.VisionTransformer(
        patch_size=shape.patch_size,
        in_chans=len(spec.slots),
        num_classes=0,
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        init_values=shape.layer_scale,
        norm_layer=partial(nn.LayerNorm, eps=shape.norm_eps),
        weight_init="skip",
        **arguments,
    )
    if shape.stem:
        vit.patch_embed.proj = conv_stem(len(spec.slots), shape.stem, shape.width)
    made: nn.Module = vit
    return made


_OF_TIMM = ("vision_transformer", "eva")
"""Modules of timm whose networks locatlas takes."""


def _timm_vit(spec: EncoderSpec, *, any_size: bool) -> nn.Module:
    timm = import_timm()
    if not timm.is_model(spec.architecture):
        known = [*OWN, *(name for module in _OF_TIMM for name in timm.list_models(module=module))]
        raise UnknownNameError("architecture", spec.architecture, known, hint="any of timm's ViTs will do")
    module = timm.models.model_entrypoint(spec.architecture).__module__.rpartition(".")[2]
    if module not in _OF_TIMM:
        message = f"architecture {spec.architecture} is timm's {module}; locatlas takes its vision_transformer and eva"
        raise InputError(message)
    arguments: dict[str, Any] = {"in_chans": len(spec.slots), "num_classes": 0, "global_pool": "token"}
    if module == "vision_transformer":
        arguments["weight_init"] = "skip"  # seconds of random numbers that are overwritten
    # the patch must be known before the size can be given; on "meta" nothing is allocated
    patch = timm.create_model(spec.architecture, device="meta", **arguments).patch_embed.patch_size[0]
    vit: nn.Module = timm.create_model(
        spec.architecture, **arguments, **_size_arguments(spec, patch, any_size=any_size)
    )
    return vit


def weights_module(network: nn.Module) -> nn.Module:
    """The part of a network whose `state_dict` has the names of weights files: timm's, below `encoder.` for SubCell."""
    return network.vit if isinstance(network, PooledViT) else network


def inner_vit(network: nn.Module) -> Any:
    """The vision transformer inside a network, timm's or `PlainViT`."""
    return network.vit if isinstance(network, PooledViT) else network.encoder


def patch_px(network: nn.Module) -> int:
    """Edge of the network's patches in pixels."""
    return int(inner_vit(network).patch_embed.patch_size[0])


def embedding_dim(network: nn.Module) -> int:
    """Length of one forward pass' feature."""
    width = int(inner_vit(network).num_features)
    if isinstance(network, SubCellEncoder):
        return width * network.pool_model.attention.out_features
    return 2 * width if isinstance(network, PooledViT) and network.pooling == "cls_spread" else width


def seed_weights(network: nn.Module, seed: int) -> None:
    """Fill a network with random weights that are the same on every machine.

    Matrices and convolutions are uniform with variance 1 / inputs, tokens and positions uniform with standard deviation
    0.02, biases 0, norms and LayerScale 1. LayerScale must not keep timm's start of 1e-5: all images would then get
    the same vector up to rounding. Uniform numbers of torch's CPU generator are scaled integers and so exact; normal
    ones pass through logarithms that differ between processors.

    Args:
        network: From `build`; changed in place.
        seed: Of the generator.
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = ("cls_token", "reg_token", "pos_embed")
    with torch.no_grad():
        for name, parameter in sorted(weights_module(network).named_parameters()):
            is_vector = name.rpartition(".")[2] in vectors
            if parameter.ndim < 2:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            sd = 0.02 if is_vector else parameter[0].numel() ** -0.5
            uniform = torch.rand(parameter.shape, generator=generator)
            parameter.copy_((2 * uniform - 1) * (3**0.5 * sd))
