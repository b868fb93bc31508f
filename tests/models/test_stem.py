"""The stem of small convolutions, against convolutions and normalizations written out."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from locatlas.models.architectures import OWN, VitShape
from locatlas.models.stem import NORM_GROUPS, conv_stem


def filled(channels: tuple[int, ...]) -> torch.nn.Sequential:
    stem = conv_stem(2, channels, 12)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in stem.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return stem


def written_out(stem: torch.nn.Sequential, x: Tensor) -> Tensor:
    for i in range(0, len(stem) - 1, 3):
        convolution, norm = stem[i], stem[i + 1]
        x = functional.conv2d(x, convolution.weight, stride=2, padding=1)
        groups = x.unflatten(1, (NORM_GROUPS, -1)).flatten(2)
        mean, variance = groups.mean(2, keepdim=True), groups.var(2, correction=0, keepdim=True)
        x = ((groups - mean) / (variance + 1e-5).sqrt()).reshape(x.shape)
        x = x * norm.weight[:, None, None] + norm.bias[:, None, None]
        x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    return torch.einsum("bchw,oc->bohw", x, stem[-1].weight[:, :, 0, 0]) + stem[-1].bias[:, None, None]


@torch.no_grad()
def test_a_stem_is_strided_convolutions_with_group_norm_and_gelu() -> None:
    stem = filled((8, 16))
    x = torch.randn(3, 2, 20, 24, generator=torch.Generator().manual_seed(1))
    found = stem(x)
    assert found.shape == (3, 12, 5, 6)
    torch.testing.assert_close(found, written_out(stem, x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_no_image_changes_what_comes_of_another_in_its_batch() -> None:
    stem = filled((8, 16))
    one, other = torch.randn(2, 1, 2, 16, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(stem(torch.cat([one, 100 * other]))[:1], stem(one))


@pytest.mark.parametrize("shape", [s for s in OWN.values() if s.stem], ids=str)
def test_a_stem_shrinks_an_image_as_the_patch_would(shape: VitShape) -> None:
    assert 2 ** len(shape.stem) == shape.patch_size
    assert all(channels % NORM_GROUPS == 0 for channels in shape.stem)
