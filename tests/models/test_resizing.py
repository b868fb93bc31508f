"""Resizing by products against torch's own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from locatlas.models import resizing
from locatlas.models.resizing import resized

EDGES = st.integers(1, 90)


@settings(max_examples=60, deadline=None)
@given(EDGES, EDGES, EDGES, st.integers(2, 90), st.sampled_from(["bilinear", "bicubic"]), st.integers(0, 99))
def test_products_give_torchs_antialiased_resize(h: int, w: int, height: int, width: int, mode: str, seed: int) -> None:
    planes = torch.from_numpy(np.random.default_rng(seed).random((2, h, w), dtype=np.float32))
    before = planes.clone()
    wanted = functional.interpolate(planes[None], (height, width), mode=mode, antialias=True, align_corners=False)[0]
    torch.testing.assert_close(resized(planes, height, width, mode), wanted, atol=1e-6, rtol=0)
    assert torch.equal(planes, before)


def test_a_single_column_is_resized_too() -> None:
    """Where torch 2.13 repeats the first row: three rows of two."""
    column = torch.tensor([[[0.1], [0.9]]])
    torch.testing.assert_close(resized(column, 3, 1, "bilinear"), torch.tensor([[[0.1], [0.5], [0.9]]]))


def test_a_view_is_resized_as_its_copy() -> None:
    planes = torch.rand(2, 50, 40).transpose(1, 2)
    assert torch.equal(resized(planes, 17, 19, "bilinear"), resized(planes.contiguous(), 17, 19, "bilinear"))


def test_large_planes_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "LARGEST_PX", 30)
    monkeypatch.setattr(resizing, "_blocks", lambda *_: pytest.fail("weights of a large plane"))
    assert resized(torch.rand(1, 31, 20), 5, 6, "bilinear").shape == (1, 5, 6)
