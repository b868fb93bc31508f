"""Recognise the layouts of published checkpoints and convert them to the names of locatlas' networks. Pure."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from locatlas.errors import WeightsError, one_line

__all__ = ["Converted", "check_fit", "convert", "shown"]

# Where checkpoints keep the network, first hit wins. DINO evaluates the teacher: main_dino.py, eval_knn.py.
_WRAPPERS = ("teacher", "state_dict", "model_state_dict", "model", "student")
# How often tensors or their names may be wrapped; published checkpoints do it twice.
_MAX_WRAPPERS = 8
# Left by wrappers of training code in front of every name: DistributedDataParallel, torch.compile.
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")
# Heads of self-distillation beside `backbone.`: DINO and DINO4Cells, DINOv2.
_TRAINING_HEADS = ("head.", "dino_head.", "ibot_head.")
_CHUNKED = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)")
_SWIGLU = re.compile(r"(blocks\.\d+\.mlp\.)(w12|w3)(\.weight|\.bias)")
_HF_LAYER = re.compile(r"encoder\.encoder\.layer\.(\d+)\.(.+)")
_HF_NAMES = {
    "encoder.embeddings.cls_token": "encoder.cls_token",
    "encoder.embeddings.position_embeddings": "encoder.pos_embed",
    "encoder.embeddings.patch_embeddings.projection.weight": "encoder.patch_embed.proj.weight",
    "encoder.embeddings.patch_embeddings.projection.bias": "encoder.patch_embed.proj.bias",
    "encoder.layernorm.weight": "encoder.norm.weight",
    "encoder.layernorm.bias": "encoder.norm.bias",
}
_HF_LAYER_NAMES = {
    "layernorm_before": "norm1",
    "attention.output.dense": "attn.proj",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
# Training puts a dropout before the linear layer: SubCellPortable renames 1 to 0 as well, vit_model.py.
_POOL = re.compile(r"pool_model\.(attention_[uv])\.[01]\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Converted:
    """Tensors under the names of locatlas' networks, and what became of the others.

    Attributes:
        tensors: By name: timm's, with `encoder.` and `pool_model.` in front for SubCell.
        layout: What was recognised: `dino`, `dinov2`, `subcell` or `timm`.
        dropped: Names in the checkpoint that no encoder needs, e.g. projection heads, sorted.
    """

    tensors: dict[str, Tensor]
    layout: str
    dropped: tuple[str, ...]


def convert(checkpoint: Mapping[str, Any]) -> Converted:
    """The encoder's tensors of a checkpoint in any of the known layouts.

    Names are matched as a whole or by prefix, never replaced inside: DINO4Cells' own loader removes every "0." and so
    turns `blocks.10.` into `blocks.1`. What is not recognised keeps its name, so that `check_fit` reports it.

    Args:
        checkpoint: As read from a file; not changed.

    Raises:
        WeightsError: If it holds no tensors, something else among them, or two tensors for one place.
    """
    tensors, dropped, distilled = _unwrap(checkpoint)
    tensors, heads = _strip_prefixes(tensors)
    dropped += heads
    if any(name.startswith("encoder.embeddings.") for name in tensors):
        layout, tensors, more = "subcell", *_from_subcell(tensors)
    elif "mask_token" in tensors or any(_CHUNKED.fullmatch(name) for name in tensors):
        layout, tensors, more = "dinov2", *_from_dinov2(tensors)
    else:
        layout = "dino" if distilled or heads else "timm"
        more = [name for name in tensors if name in ("head.weight", "head.bias")]  # a classifier, unused
        tensors = {name: tensor for name, tensor in tensors.items() if name not in more}
    return Converted(tensors, layout, tuple(sorted([*dropped, *more])))


def _unwrap(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str], bool]:
    """The innermost mapping of tensors, the names beside it, and whether it was a teacher or student."""
    current: Mapping[str, Any] = checkpoint
    dropped: list[str] = []
    distilled = False
    depth = 0
    while found := [key for key in _WRAPPERS if isinstance(current.get(key), Mapping)]:
        if (depth := depth + 1) > _MAX_WRAPPERS:
            message = f"checkpoint wraps its tensors more than {_MAX_WRAPPERS} times"
            raise WeightsError(message)
        dropped += [str(key) for key in current if key != found[0]]
        distilled |= found[0] in ("teacher", "student")
        current = current[found[0]]
    if not current:
        message = "checkpoint holds no tensors"
        raise WeightsError(message)
    if other := [str(key) for key, value in current.items() if not isinstance(value, Tensor)]:
        message = f"checkpoint is in no known layout: {shown(other)} not tensors, and none of {', '.join(_WRAPPERS)}"
        raise WeightsError(message)
    return {str(key): value for key, value in current.items()}, dropped, distilled


def _strip_prefixes(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Names without what training wrappers put in front, and the names of training heads beside a `backbone.`."""
    for _ in range(_MAX_WRAPPERS):
        prefix = next((p for p in _WRAPPER_PREFIXES if all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if not any(name.startswith("backbone.") for name in tensors):
        return tensors, []
    heads = [name for name in tensors if name.startswith(_TRAINING_HEADS)]
    kept = [(name.removeprefix("backbone."), tensors[name]) for name in tensors if name not in heads]
    return _unique(kept), heads


def _from_dinov2(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """DINOv2 and Cell-DINO: blocks in chunks, a mask token, registers that share no position.

    Within a chunk the number is already that of the whole network: dinov2/models/vision_transformer.py fills the front
    of each chunk with identities. CLS' position is added to CLS where there are registers, as timm expects.
    """
    pairs = []
    for name, tensor in tensors.items():
        new = name
        if chunked := _CHUNKED.fullmatch(name):
            new = f"blocks.{chunked[2]}.{chunked[3]}"
        if swiglu := _SWIGLU.fullmatch(new):
            new = f"{swiglu[1]}{'fc1' if swiglu[2] == 'w12' else 'fc2'}{swiglu[3]}"
        pairs.append((new, tensor))
    out = _unique(pairs)
    dropped = [name for name in ("mask_token", "head.weight", "head.bias") if out.pop(name, None) is not None]
    if "register_tokens" in out and {"cls_token", "pos_embed"} <= out.keys():
        out["reg_token"] = out.pop("register_tokens")
        positions = out.pop("pos_embed")
        out["cls_token"] = out.pop("cls_token") + positions[:, :1]
        out["pos_embed"] = positions[:, 1:]
    return out, dropped


def _from_subcell(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """SubCell: a Hugging Face ViT under `encoder.` and the pooling under `pool_model.`."""
    pairs: list[tuple[str, Tensor]] = []
    dropped: list[str] = []
    attention: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(("classifier.", "classifiers.")):
            dropped.append(name)
        elif name in _HF_NAMES:
            pairs.append((_HF_NAMES[name], tensor))
        elif pool := _POOL.fullmatch(name):
            pairs.append((f"pool_model.{pool[1]}.0.{pool[2]}", tensor))
        elif layer := _HF_LAYER.fullmatch(name):
            rest, _, kind = layer[2].rpartition(".")
            block = f"encoder.blocks.{layer[1]}"
            if rest in _HF_LAYER_NAMES:
                pairs.append((f"{block}.{_HF_LAYER_NAMES[rest]}.{kind}", tensor))
            elif rest in ("attention.attention.query", "attention.attention.key", "attention.attention.value"):
                attention.setdefault(f"{block}.attn.qkv.{kind}", {})[rest.rpartition(".")[2]] = tensor
            else:
                pairs.append((name, tensor))
        else:
            pairs.append((name, tensor))
    for name, parts in attention.items():
        if lacking := {"query", "key", "value"} - parts.keys():
            message = f"{name} cannot be put together: {', '.join(sorted(lacking))} missing in the checkpoint"
            raise WeightsError(message)
        pairs.append((name, torch.cat([parts["query"], parts["key"], parts["value"]])))
    return _unique(pairs), dropped


def _unique(pairs: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    out = dict(pairs)
    if len(out) != len(pairs):
        names = Counter(name for name, _ in pairs)
        message = (
            f"two tensors of the checkpoint would land in one place: {shown(sorted(n for n in names if names[n] > 1))}"
        )
        raise WeightsError(message)
    return out


def check_fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Return if the tensors fill a network exactly; raise with everything that does not fit if not.

    Args:
        tensors: From `convert`, positions already resampled.
        expected: The network's own `state_dict`.

    Raises:
        WeightsError: If a name is missing or unexpected, a shape differs (both are named), or a number is not finite.
    """
    faults = []
    if missing := sorted(expected.keys() - tensors.keys()):
        faults.append(f"missing {shown(missing)}")
    if unexpected := sorted(tensors.keys() - expected.keys()):
        faults.append(f"unexpected {shown(unexpected)}")
    both = sorted(tensors.keys() & expected.keys())
    if differing := [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in both
        if tensors[name].shape != expected[name].shape
    ]:
        faults.append(f"shapes differ: {shown(differing)}")
    if not faults and (broken := [name for name in both if not _is_finite(tensors[name])]):
        faults.append(f"not finite: {shown(broken)}")
    if faults:
        raise WeightsError("; ".join(faults))


_WITH_RANGE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are: the least or the largest of some is not, where any is not; NaN is both."""
    if tensor.dtype in _WITH_RANGE and tensor.numel():
        return bool(torch.isfinite(torch.stack(tensor.aminmax())).all())  # a quarter of the time of what follows
    if tensor.is_floating_point():
        tensor = tensor.float()  # torch 2.13 cannot ask some numbers of eight bits
    return bool(torch.isfinite(tensor).all())


def shown(names: Any, limit: int = 20) -> str:
    """Names joined by commas, the first `limit` of them and then how many there are in all; in one line in any case."""
    names = list(names)
    return ", ".join(one_line(name) for name in names[:limit]) + (
        f", ... ({len(names)} in all)" if len(names) > limit else ""
    )
