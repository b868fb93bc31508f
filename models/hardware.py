"""What the machine multiplies natively, and the precision that therefore pays. Reads the processor's features."""

import torch

from locatlas.errors import InputError
from locatlas.models.spec import EncoderSpec, Precision

__all__ = ["helpful_precision", "native_bf16", "native_cpu_bf16", "usable_device"]

_WIDE = 384
"""From ViT-S on, matrix products dominate; narrower networks gain nothing from bf16."""


def native_bf16() -> bool:
    """Whether bfloat16 is multiplied in hardware here: by the GPU if there is one, else by the CPU."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return native_cpu_bf16()


def native_cpu_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; False where this torch cannot tell."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def usable_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA if there is one, else the CPU.

    Raises:
        InputError: If nothing can be put on it here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        there = torch.zeros(1, device=name)
        there.cpu()  # "meta" takes everything and gives nothing back
        return there.device
    except (RuntimeError, AssertionError) as error:
        message = f"device {name!r} cannot be used here: {str(error).splitlines()[0]}"
        raise InputError(message) from error


def helpful_precision(spec: EncoderSpec) -> Precision:
    """`bf16` where the hardware has it and the network is wide enough to gain, else what the spec says."""
    return "bf16" if spec.embedding_dim >= _WIDE and native_bf16() else spec.precision
