"""bfloat16 networks against float32 ones, convolution by convolution."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from locatlas.models.precision import for_autocast, full_float32, in_precision


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


@pytest.mark.parametrize(("channels", "edge"), [(3, 16), (4, 16), (16, 14), (8, 8)])
def test_under_autocast_it_is_that_in_fp32_and_so_are_its_gradients(channels: int, edge: int) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(channels, 32, edge, stride=edge), nn.Flatten(2), nn.Linear(4, 8))
    lowered = copy.deepcopy(plain)
    for_autocast(lowered, torch.device("cpu"))
    images = torch.rand(2, channels, edge * 2, edge * 2)
    wanted = plain(images)
    with torch.autocast("cpu", torch.bfloat16):
        found = lowered(images)
    alike = functional.cosine_similarity(wanted.detach().flatten(), found.detach().float().flatten(), dim=0)
    assert float(alike) > 0.9995
    assert lowered.state_dict().keys() == plain.state_dict().keys()
    wanted.square().sum().backward()
    found.float().square().sum().backward()
    ours, theirs = lowered[0].weight.grad, plain[0].weight.grad
    assert float(functional.cosine_similarity(theirs.flatten(), ours.flatten(), dim=0)) > 0.999
    assert isinstance(copy.deepcopy(lowered)[0], type(lowered[0])), "a teacher is a copy"


def test_fp32_stays_as_it_is() -> None:
    conv = nn.Conv2d(3, 4, 2)
    weight = conv.weight.clone()
    same = in_precision(conv, "fp32", torch.device("cpu"))
    assert same is conv
    assert torch.equal(conv.weight, weight)


def test_a_program_that_asked_for_tf32_has_float32_here_and_its_own_again_afterwards() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        with full_float32(torch.device("cuda")):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        with pytest.raises(ValueError, match="any"), full_float32(torch.device("cuda")):
            raise ValueError("any")
        assert torch.get_float32_matmul_precision() == "high"
        with full_float32(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
