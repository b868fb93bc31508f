"""How an encoder's network is run on a machine: what changes the last digits of a vector, and no more. Pure.

None of it is part of a fingerprint (docs/decisions/0008-runtimes.md, 0010-devices.md); the ledger keeps it.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

__all__ = ["PREPARES", "RUNTIMES", "USUAL", "Prepare", "Running", "Runtime"]

Runtime = Literal["torch", "openvino", "compiled"]
RUNTIMES = get_args(Runtime)

Prepare = Literal["auto", "device", "cpu"]
PREPARES = get_args(Prepare)


@dataclass(frozen=True, slots=True)
class Running:
    """How a network is run.

    Attributes:
        device: `auto` (CUDA if there is one, else the CPU), or torch's name of one.
        prepare: Where integer pixels are scaled and resized: on the `device` that runs the network, or the `cpu`, in
            the threads that read; `auto` is `device` on CUDA.
        runtime: What runs the network; `openvino` is for the CPU, `compiled` is torch's compiler.
        batch: Images a forward pass, from 1; 0 is what is usual on the device, -1 what a trial finds best there.
    """

    device: str = "auto"
    prepare: Prepare = "auto"
    runtime: Runtime = "torch"
    batch: int = 0

    @property
    def chosen(self) -> dict[str, Any]:
        """What is not as it is by default: arguments of `encode.load_encoder`."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}


USUAL = Running()
"""As it is by default."""
