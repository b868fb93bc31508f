"""A plain vision transformer for images of one size, as timm computes it and with its names. Pure.

Importing timm costs some two seconds of a core: it imports torchvision, torch's compiler and a client of a file server,
none of which embedding needs. What locatlas embeds with most is this one architecture, so it stands here; its vectors
are timm's bit for bit (`tests/models/test_plain_vit.py`). Anything else is timm's own (`vit.build`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from locatlas.models.architectures import VitShape
from locatlas.models.stem import conv_stem

__all__ = ["PlainViT"]

_MLP_RATIO = 4
"""Width of a block's hidden layer, in widths of a token."""


class _Linear(nn.Linear):
    """Not filled with random numbers, which takes longer than to read those that take their place."""

    def reset_parameters(self) -> None:
        """Leave the numbers as they are."""


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = _Linear(width, 3 * width)
        self.proj = _Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        b, n, width = tokens.shape
        parts = self.qkv(tokens).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        found = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(found.transpose(1, 2).reshape(b, n, width))
        return projected


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = _Linear(width, _MLP_RATIO * width)
        self.fc2 = _Linear(_MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return found


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class _Block(nn.Module):
    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        scaled = shape.layer_scale is not None
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.attn = _Attention(shape.width, shape.heads)
        self.ls1 = _LayerScale(shape.width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.mlp = _Mlp(shape.width)
        self.ls2 = _LayerScale(shape.width) if scaled else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        found: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return found


class _PatchEmbed(nn.Module):
    """Attributes are timm's: edges of a patch in pixels, and of the grid in patches."""

    def __init__(self, shape: VitShape, channels: int, edge: int) -> None:
        super().__init__()
        self.patch_size = (shape.patch_size, shape.patch_size)
        self.grid_size = (edge // shape.patch_size, edge // shape.patch_size)
        self.proj: nn.Module
        if shape.stem:
            self.proj = conv_stem(channels, shape.stem, shape.width)
        else:
            self.proj = nn.Conv2d(channels, shape.width, kernel_size=shape.patch_size, stride=shape.patch_size)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return found


class PlainViT(nn.Module):
    """Images to tokens after the final norm. Weights are whatever the memory held until they are loaded or seeded.

    Args:
        shape: Of the network.
        channels: Planes of an image.
        edge: Of an image in pixels, a multiple of the patch.

    Attributes:
        num_features: Length of a token.
        num_prefix_tokens: CLS and registers, which stand before the patches.
        no_embed_class: Whether only patches have a position, as with registers.
    """

    def __init__(self, shape: VitShape, channels: int, edge: int) -> None:
        super().__init__()
        self.edge = edge
        self.num_features = shape.width
        self.num_prefix_tokens = 1 + shape.registers
        self.no_embed_class = shape.registers > 0
        self.patch_embed = _PatchEmbed(shape, channels, edge)
        patches = self.patch_embed.grid_size[0] ** 2
        positions = patches if self.no_embed_class else patches + self.num_prefix_tokens
        self.cls_token = nn.Parameter(torch.empty(1, 1, shape.width))
        self.reg_token = nn.Parameter(torch.empty(1, shape.registers, shape.width)) if shape.registers else None
        self.pos_embed = nn.Parameter(torch.empty(1, positions, shape.width))
        self.blocks = nn.Sequential(*(_Block(shape) for _ in range(shape.depth)))
        self.norm = nn.LayerNorm(shape.width, eps=shape.norm_eps)

    def forward_features(self, images: Tensor) -> Tensor:
        """(b, channels, edge, edge) -> (b, tokens, width), those before the patches first.

        Raises:
            ValueError: If the images have another size.
        """
        if tuple(images.shape[-2:]) != (self.edge, self.edge):
            message = f"images of {tuple(images.shape[-2:])} pixels; the network takes {self.edge} x {self.edge}"
            raise ValueError(message)
        tokens = self.patch_embed(images)
        prefix = [
            token.expand(images.shape[0], -1, -1) for token in (self.cls_token, self.reg_token) if token is not None
        ]
        if self.no_embed_class:
            tokens = torch.cat([*prefix, tokens + self.pos_embed], dim=1)
        else:
            tokens = torch.cat([*prefix, tokens], dim=1) + self.pos_embed
        found: Tensor = self.norm(self.blocks(tokens))
        return found
