"""From a vision transformer's tokens to one vector: which block's tokens, and what is taken from them. Pure."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from locatlas.models.spec import Pooling

__all__ = ["PooledViT", "spread"]


def spread(tokens: Tensor, shares: Tensor) -> Tensor:
    """Standard deviation of patch tokens, each patch counting as far as it shows something.

    Args:
        tokens: Float32, (b, patches, width).
        shares: Share of each patch that is not blank, (b, patches), in [0, 1]. Where all are 0, all patches count.

    Returns:
        Float32, (b, width), not negative; 0 for a single patch. Weighted by `shares`, divided by their sum (not n - 1).
    """
    total = shares.sum(dim=1, keepdim=True)
    weights = torch.where(total > 0, shares / total.clamp_min(1e-12), 1 / shares.shape[1])[..., None]
    mean = (weights * tokens).sum(dim=1, keepdim=True)
    variance = (weights * (tokens - mean).square()).sum(dim=1)
    # the slope of a root at 0 is infinite: where a single patch counts, training would get NaN instead of no gradient
    varies = variance > 0
    return torch.where(varies, torch.where(varies, variance, 1.0).sqrt(), 0.0)


class PooledViT(nn.Module):
    """A vision transformer, timm's or `PlainViT`, and what is taken from its tokens.

    Args:
        vit: With `forward_features`, which ends in the final norm, and `num_prefix_tokens`; where `block` is given, one
            of timm's, with `forward_intermediates`.
        pooling: `cls` takes the first token, `mean` the mean of the patch tokens, registers and CLS left out, `spread`
            their standard deviation, `cls_spread` both side by side.
        block: Tokens are taken after this many blocks, and pass the final norm; None for all blocks.
    """

    def __init__(self, vit: nn.Module, pooling: Pooling, block: int | None = None) -> None:
        super().__init__()
        self.vit: Any = vit
        self.pooling = pooling
        self.block = block

    def forward(self, images: Tensor) -> Tensor:
        """(b, slots, h, w) -> (b, width), twice the width for `cls_spread`.

        The spreads take one plane more than there are slots, (b, slots + 1, h, w): where the image is not blank.
        """
        if self.pooling not in ("spread", "cls_spread"):
            tokens = self._tokens(images)
            return tokens[:, 0] if self.pooling == "cls" else tokens[:, self.vit.num_prefix_tokens :].mean(dim=1)
        tokens = self._tokens(images[:, :-1]).float()
        shares = functional.avg_pool2d(images[:, -1:].float(), self.vit.patch_embed.patch_size).flatten(1)
        found = spread(tokens[:, self.vit.num_prefix_tokens :], shares)
        return found if self.pooling == "spread" else torch.cat([tokens[:, 0], found], dim=1)

    def _tokens(self, images: Tensor) -> Tensor:
        """All tokens, those before the patches first: (b, tokens, width)."""
        if self.block is None:
            tokens: Tensor = self.vit.forward_features(images)
            return tokens
        # the blocks that follow are not computed
        has_others = self.vit.num_prefix_tokens > 0
        [found] = self.vit.forward_intermediates(
            images,
            indices=[self.block - 1],
            return_prefix_tokens=has_others,
            norm=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        return torch.cat([found[1], found[0]], dim=1) if has_others else found
