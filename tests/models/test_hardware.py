"""The precision that pays on a machine, for wide and narrow networks."""

import pytest
import torch

from locatlas.errors import InputError
from locatlas.models import hardware, registry


@pytest.mark.parametrize(
    ("found", "native"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True, "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_a_cpu_multiplies_bf16_if_it_says_so(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], native: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert hardware.native_bf16() is native


@pytest.mark.parametrize("native", [True, False])
def test_only_wide_networks_on_native_hardware_take_bf16(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(hardware, "native_bf16", lambda: native)
    small = registry.get("locatlas_pico.untrained")
    wide = registry.get("vit_small_patch16_224.dino")
    assert hardware.helpful_precision(small) == "fp32"
    assert hardware.helpful_precision(wide) == ("bf16" if native else "fp32")


@pytest.mark.parametrize("name", ["banana", "cpu:x", "cuda:99"])
def test_a_device_that_cannot_be_used_is_told_in_one_line(name: str) -> None:
    with pytest.raises(InputError, match=f"^device '{name}' cannot be used here: [^\\n]+$"):
        hardware.usable_device(name)


def test_a_device_that_can_be_used_is_given() -> None:
    assert hardware.usable_device("cpu") == torch.device("cpu")
    assert hardware.usable_device("auto").type in {"cpu", "cuda"}
