"""Row 21: numbers at the ends of their types never reach the network as NaN or infinity."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from locatlas.errors import ImageRejectedError
from locatlas.models import registry
from locatlas.models.transforms import network_input
from locatlas.types import ChannelImage

PLANES: dict[str, Any] = {
    "one of 1e30": np.where(np.eye(40) > 0, 1e30, 0.0),
    "all around 1e30": np.linspace(0.5e30, 1e30, 1600).reshape(40, 40),
    "the largest float32": np.where(np.eye(40) > 0, np.finfo(np.float32).max, -np.finfo(np.float32).max),
    "denormal": np.where(np.eye(40) > 0, 1e-45, 0.0),
    "flat": np.full((40, 40), 7.0),
    "flat at 1e30": np.full((40, 40), 1e30),
    "one pixel": np.full((1, 1), 1e30),
}


@pytest.mark.parametrize("intensity", ["unit", "standardize", "minmax", "minmax_joint", "percentile"])
@pytest.mark.parametrize("what", PLANES)
def test_extreme_pixels_are_finite_for_the_network_or_refused(what: str, intensity: Any) -> None:
    plane = PLANES[what].astype(np.float32)
    image = ChannelImage(np.stack([plane, plane.T]), ("nucleus", "protein"))
    spec = replace(registry.get("locatlas_pico.untrained"), intensity=intensity)
    try:
        found = network_input(image, spec, patch_px=16)
    except ImageRejectedError:
        return
    assert torch.isfinite(found).all()
