"""SubCell's network: a vision transformer whose tokens are pooled by gated attention. Pure."""

from torch import Tensor, nn

__all__ = ["GatedAttentionPooler", "SubCellEncoder"]


class GatedAttentionPooler(nn.Module):
    """Weighted means of all tokens, one per head, concatenated.

    The weights are a softmax over tokens of W(tanh(V x) * gelu(U x)); CLS is one of the tokens. Source: vit_model.py of
    CellProfiling/SubCellPortable, after Ilse et al. 2018 (arXiv:1802.04712), whose gate is a sigmoid.

    Args:
        width: Length of a token.
        hidden: Width of V and U.
        heads: Number of means.
    """

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        # Sequential, and named as in the published files, whose layer 0 is a dropout that inference leaves out
        self.attention_v = nn.Sequential(nn.Linear(width, hidden), nn.Tanh())
        self.attention_u = nn.Sequential(nn.Linear(width, hidden), nn.GELU())
        self.attention = nn.Linear(hidden, heads)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, tokens, width) -> (b, heads * width)."""
        gate = self.attention_v(tokens) * self.attention_u(tokens)
        weights = self.attention(gate).transpose(1, 2).softmax(dim=-1)
        pooled: Tensor = (weights @ tokens).flatten(1)
        return pooled


class SubCellEncoder(nn.Module):
    """Images to gated-attention embeddings.

    Args:
        encoder: A vision transformer, timm's or `PlainViT`.
        pool_model: The pooling of its tokens.
    """

    def __init__(self, encoder: nn.Module, pool_model: GatedAttentionPooler) -> None:
        super().__init__()
        self.encoder = encoder
        self.pool_model = pool_model

    def forward(self, images: Tensor) -> Tensor:
        """(b, slots, h, w) -> (b, heads * width); all tokens after the final norm are pooled."""
        pooled: Tensor = self.pool_model(self.encoder.forward_features(images))  # type: ignore[operator]
        return pooled
