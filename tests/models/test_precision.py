"""bfloat16 networks against float32 ones, convolution by convolution."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from locatlas.models.precision import in_precision


@pytest.mark.parametrize("edge", [8, 14, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8, 16])
def test_a_patch_projection_in_bf16_is_the_one_in_fp32(channels: int, edge: int) -> None:
    """On CPUs with AMX torch's own gives noise for some of these."""
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(channels, 64, edge, stride=edge))
    images = torch.rand(2, channels, edge * 14, edge * 14)
    lowered = in_precision(copy.deepcopy(conv), "bf16", torch.device("cpu"))
    with torch.inference_mode():
        wanted, found = conv(images), lowered(images.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert float(functional.cosine_similarity(wanted.flatten(), found.float().flatten(), dim=0)) > 0.9999


def test_fp32_stays_as_it_is() -> None:
    conv = nn.Conv2d(3, 4, 2)
    weight = conv.weight.clone()
    same = in_precision(conv, "fp32", torch.device("cpu"))
    assert same is conv
    assert torch.equal(conv.weight, weight)
