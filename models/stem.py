"""Small convolutions in the place of a vision transformer's patch projection. Pure."""

from collections.abc import Sequence

from torch import nn

__all__ = ["NORM_GROUPS", "conv_stem"]

NORM_GROUPS = 8
"""Groups of channels that are normalized together: by image, so that no vector depends on the others of its batch."""


def conv_stem(in_channels: int, channels: Sequence[int], width: int) -> nn.Sequential:
    """Convolutions of 3 x 3 and stride 2, each with GroupNorm and GELU, and one of 1 x 1 to the tokens' width.

    Source of the design: Xiao et al. 2021, "Early convolutions help transformers see better", arXiv:2106.14881, there
    with BatchNorm.

    Args:
        in_channels: Slots of the encoder.
        channels: After each convolution, multiples of `NORM_GROUPS`.
        width: Of a token.

    Returns:
        (b, in_channels, h, w) -> (b, width, h / 2^n, w / 2^n), n = len(channels).
    """
    layers: list[nn.Module] = []
    for before, after in zip([in_channels, *channels], channels, strict=False):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.GroupNorm(NORM_GROUPS, after),
            nn.GELU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], width, 1))
