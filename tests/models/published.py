"""Write checkpoints with exactly the structure of the published ones, from the tensors of one of our networks.

Key names, prefixes and neighbours as in: DINO4Cells_code main_dino.py; facebookresearch/dinov2
models/vision_transformer.py and hub/cell_dino/backbones.py; CellProfiling/SubCellPortable vit_model.py.
"""

import argparse
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def training_head(width: int) -> Tensors:
    """DINOHead: three linear layers and a weight-normed last one."""
    head = {
        f"head.mlp.{i}.{kind}": torch.randn(8, width)[:, : None if kind == "weight" else 1]
        for i in (0, 2, 4)
        for kind in ("weight", "bias")
    }
    return {**head, "head.last_layer.weight_g": torch.ones(5, 1), "head.last_layer.weight_v": torch.randn(5, 8)}


def dino4cells(vit: Tensors) -> dict[str, Any]:
    """Teacher `backbone.`, student `module.backbone.`, both with heads; optimizer, arguments, loss, epoch."""
    width = vit["cls_token"].shape[-1]
    teacher = {**{f"backbone.{name}": tensor for name, tensor in vit.items()}, **training_head(width)}
    student = {f"module.{name}": tensor + 1 for name, tensor in teacher.items()}
    arguments = argparse.Namespace(
        arch="vit_base", patch_size=16, num_channels=4, out_dim=65536, output_dir="/scratch/x", lr=np.float64(5e-4)
    )
    return {
        "student": student,
        "teacher": teacher,
        "optimizer": {
            "state": {0: {"step": 3, "exp_avg": torch.zeros(2)}},
            "param_groups": [{"lr": 1e-4, "params": [0]}],
        },
        "epoch": 100,
        "args": arguments,
        "dino_loss": {"center": torch.zeros(1, 5)},
        "fp16_scaler": {"scale": 65536.0, "_growth_tracker": 7},
    }


def cell_dino(vit: Tensors, *, chunk: int) -> Tensors:
    """Flat; a mask token; blocks in chunks whose inner number is that of the whole network."""
    out = {"mask_token": torch.zeros(1, vit["cls_token"].shape[-1])}
    for name, tensor in vit.items():
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
        out[f"blocks.{int(block[1]) // chunk}.{block[1]}.{block[2]}" if block else name] = tensor
    return out


def subcell(ours: Tensors, *, dropout: bool) -> Tensors:
    """A Hugging Face ViT with separate query, key and value, the pooling behind it, and a classifier left in the file.

    Args:
        ours: Names of `SubCellEncoder`.
        dropout: Whether the pooling has training's dropout as its layer 0, as the released files do.
    """
    top = {
        "encoder.cls_token": "encoder.embeddings.cls_token",
        "encoder.pos_embed": "encoder.embeddings.position_embeddings",
        "encoder.patch_embed.proj.weight": "encoder.embeddings.patch_embeddings.projection.weight",
        "encoder.patch_embed.proj.bias": "encoder.embeddings.patch_embeddings.projection.bias",
        "encoder.norm.weight": "encoder.layernorm.weight",
        "encoder.norm.bias": "encoder.layernorm.bias",
    }
    inner = {
        "norm1": "layernorm_before",
        "attn.proj": "attention.output.dense",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    out: Tensors = {"classifier.0.weight": torch.zeros(3, 4), "classifier.0.bias": torch.zeros(3)}
    for name, tensor in ours.items():
        block = re.fullmatch(r"encoder\.blocks\.(\d+)\.(.+)\.(weight|bias)", name)
        if name in top:
            out[top[name]] = tensor
        elif name.startswith("pool_model.attention_"):
            out[name.replace(".0.", ".1.") if dropout else name] = tensor
        elif block and block[2] == "attn.qkv":
            for part, chunk in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                out[f"encoder.encoder.layer.{block[1]}.attention.attention.{part}.{block[3]}"] = chunk
        elif block:
            out[f"encoder.encoder.layer.{block[1]}.{inner[block[2]]}.{block[3]}"] = tensor
        else:
            out[name] = tensor
    return out
