"""A network compiled by torch: on CUDA its kernels are started as one recorded graph, not one by one."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from locatlas.errors import InputError
from locatlas.models.spec import EncoderSpec

__all__ = ["compiled_network"]

BACKEND = "inductor"


def compiled_network(network: nn.Module, spec: EncoderSpec) -> Callable[[Tensor], Tensor]:
    """The network, compiled when it meets a shape for the first time, for minutes.

    Batches are of one shape throughout, since the last one is filled up.

    Args:
        network: On its device, in its precision.
        spec: Names the encoder, and says whether its inputs are of one size.

    Raises:
        InputError: If the encoder takes images of any size. On its first batch: if it cannot be compiled here.
    """
    if not spec.input_px or spec.resize == "none_pad_to_patch":
        message = f"encoder {spec.name} takes images of any size; it would be compiled anew for each: use runtime torch"
        raise InputError(message)
    # on CUDA: record the kernels once, then start them as one
    mode = "reduce-overhead" if BACKEND == "inductor" else None
    run = torch.compile(network, dynamic=False, backend=BACKEND, mode=mode)
    met = set[torch.Size]()

    def passed(batch: Tensor) -> Tensor:
        try:
            # a recorded graph gives its result in the same memory each time
            found: Tensor = run(batch).clone()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if batch.shape in met:
                raise
            cause = getattr(error, "inner_exception", error)  # what the compiler's own error only points to
            lines = str(cause).splitlines()
            first = next((line.strip() for line in lines if line.strip()), type(cause).__name__)
            message = f"encoder {spec.name}: torch cannot compile it here ({first[:200]}): use the runtime torch"
            raise InputError(message) from error
        met.add(batch.shape)
        return found

    return passed
