"""What the machine multiplies natively, and the precision that therefore pays. Reads the processor's features."""

import torch

from locatlas.models.spec import EncoderSpec, Precision

__all__ = ["helpful_precision", "native_bf16"]

_WIDE = 384
"""From ViT-S on, matrix products dominate; narrower networks gain nothing from bf16."""


def native_bf16() -> bool:
    """Whether bfloat16 is multiplied in hardware here: by the GPU if there is one, else by the CPU."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def helpful_precision(spec: EncoderSpec) -> Precision:
    """`bf16` where the hardware has it and the network is wide enough to gain, else what the spec says."""
    return "bf16" if spec.embedding_dim >= _WIDE and native_bf16() else spec.precision
