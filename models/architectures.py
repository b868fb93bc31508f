"""Shapes of plain vision transformers: those that timm has no name for, and the most used of its own. Data only."""

from dataclasses import dataclass
from typing import Any

__all__ = ["OF_TIMM", "OWN", "VitShape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VitShape:
    """A plain vision transformer with a CLS token and learned positions.

    Attributes:
        img_size: Pixels of an edge that the positions of the published weights are for.
        patch_size: Edge of a patch in pixels.
        width: Length of a token.
        depth: Number of blocks.
        heads: Attention heads.
        layer_scale: Starting value of LayerScale; None for a network without it.
        norm_eps: Epsilon of the LayerNorms.
        pool_heads: Heads of SubCell's gated attention pooling; 0 for a network without it.
        pool_width: Hidden width of that pooling.
        stem: Channels after each of the 3 x 3 convolutions of stride 2 that stand for one convolution of the patch's
            size; () for the plain network.
        registers: Tokens beside CLS that stand for no patch; with them only patches have a position.
    """

    img_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    layer_scale: float | None = None
    norm_eps: float = 1e-6
    pool_heads: int = 0
    pool_width: int = 512
    stem: tuple[int, ...] = ()
    registers: int = 0


OWN: dict[str, VitShape] = {
    # DINO4Cells_code, archs/vision_transformer.py; size: SubCell's config_dino.yaml
    "vit_base_patch16": VitShape(img_size=224, patch_size=16, width=768, depth=12, heads=12),
    # facebookresearch/dinov2, dinov2/hub/cell_dino/backbones.py
    "cell_dino_vit_large_patch16": VitShape(
        img_size=224, patch_size=16, width=1024, depth=24, heads=16, layer_scale=1.0
    ),
    "channel_adaptive_dino_vit_large_patch16": VitShape(
        img_size=224, patch_size=16, width=1024, depth=24, heads=16, layer_scale=1.0
    ),
    # CellProfiling/SubCellPortable, vit_model.py and models/*/model_config.yaml
    "subcell_vit_base_patch16": VitShape(
        img_size=448, patch_size=16, width=768, depth=12, heads=12, norm_eps=1e-12, pool_heads=2
    ),
    "locatlas_pico": VitShape(img_size=224, patch_size=16, width=192, depth=4, heads=3),
    # the same behind a stem of small convolutions, from which so small a network learns many times faster
    # (Xiao et al. 2021, "Early convolutions help transformers see better", arXiv:2106.14881)
    "locatlas_pico_conv": VitShape(img_size=224, patch_size=16, width=192, depth=4, heads=3, stem=(32, 64, 96, 192)),
}
"""locatlas' own architecture names and their shapes."""

_SIZES: dict[str, dict[str, Any]] = {
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
    "large": {"width": 1024, "depth": 24, "heads": 16},
}

OF_TIMM: dict[str, VitShape] = {
    f"vit_{size}_patch{patch}_224": VitShape(img_size=224, patch_size=patch, **_SIZES[size])
    for size, patch in (("small", 8), ("small", 16), ("base", 8), ("base", 16), ("large", 16))
} | {
    f"vit_{size}_patch14_{kind}dinov2": VitShape(
        img_size=518, patch_size=14, layer_scale=1e-5, registers=registers, **_SIZES[size]
    )
    for size in _SIZES
    for kind, registers in (("", 0), ("reg4_", 4))
}
"""timm's names of those that `plain_vit` computes; a test compares each with timm's network."""
