"""What runs an encoder's network: torch, its compiler, or OpenVINO; the encoder is the same either way.

A runtime orders the same arithmetic in another way and is no part of a fingerprint (docs/decisions/0008-runtimes.md).
So another one than torch is never believed unseen: its first batch is compared with torch in float32.
"""

import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from locatlas.errors import InputError
from locatlas.models.running import Runtime
from locatlas.models.spec import EncoderSpec, Precision

__all__ = ["LEAST_COSINE", "checked", "openvino_network", "runtime_version"]

LEAST_COSINE: dict[Precision, float] = {"fp32": 0.9999, "bf16": 0.9995}
"""Below this to torch's float32 vector of the same input, a runtime is refused. On 485 real cells torch's own bf16 has
a least cosine of 0.99977, OpenVINO's 0.99984."""

Network = Callable[[Tensor], Tensor]


def runtime_version(runtime: Runtime) -> str:
    """The runtime with its version, as the ledger keeps it.

    Raises:
        InputError: If it is not installed.
    """
    if runtime == "openvino":
        return f"openvino {_openvino().get_version()}"
    return f"torch {torch.__version__}" + (", compiled" if runtime == "compiled" else "")


def openvino_network(network: nn.Module, spec: EncoderSpec, *, lanes: int = 1) -> Network:
    """A network that OpenVINO runs on the CPU; converted once for each shape of a batch.

    Args:
        network: In float32 on the CPU; used as long as the result is.
        spec: Gives precision and name.
        lanes: Threads that may call it at once; the cores are shared out among them.

    Returns:
        Float32 (b, slots, h, w) on the CPU to float32 (b, d).

    Raises:
        InputError: If OpenVINO is not installed, cannot convert the network or cannot multiply in the precision here.
            What a conversion can do is known at the first batch.
    """
    if not spec.input_px or spec.resize == "none_pad_to_patch":
        message = (
            f"encoder {spec.name} takes images of any size; OpenVINO would convert it anew for each of them: use the "
            "runtime torch"
        )
        raise InputError(message)
    ov = _openvino()
    compiled: dict[torch.Size, Any] = {}
    compiling = threading.Lock()
    mine = threading.local()  # a request serves one thread at a time

    def run(batch: Tensor) -> Tensor:
        with compiling:
            if batch.shape not in compiled:
                compiled[batch.shape] = _converted(ov, network, batch, spec, lanes)
        requests: dict[torch.Size, Any] = vars(mine).setdefault("requests", {})
        if batch.shape not in requests:
            requests[batch.shape] = compiled[batch.shape].create_infer_request()
        result = requests[batch.shape].infer([batch.numpy()], share_inputs=True, share_outputs=False)
        return torch.from_numpy(result[0])

    return run


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        message = f"runtime openvino: not installed ({error}); pip install 'locatlas[openvino]'"
        raise InputError(message) from error
    return openvino


_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


def _converted(ov: Any, network: nn.Module, batch: Tensor, spec: EncoderSpec, lanes: int) -> Any:
    """The network compiled for batches of this shape."""
    hint = _HINTS[spec.precision]
    core = ov.Core()
    # without bf16 instructions OpenVINO would take float32 and not say so
    if hint == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        message = f"encoder {spec.name} is bf16, which OpenVINO does not multiply on this CPU: use the runtime torch"
        raise InputError(message)
    try:
        # tracing warns of branches by shape, which a conversion for one shape may take for settled
        with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # torch would trace it twice more to compare; `checked` compares what comes out in the end
            traced = torch.jit.trace(network, batch.clone(), check_trace=False)
            model = ov.convert_model(traced, example_input=batch.clone())
        model.reshape(list(batch.shape))
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if lanes > 1:
            # not pinned: who reads images wants a core as well, and a pinned thread would wait for its own
            settings |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(lanes), "ENABLE_CPU_PINNING": False}
        return core.compile_model(model, "CPU", settings)
    except Exception as error:  # whatever tracing and conversion raise: none of it is a fault of the caller
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        message = f"encoder {spec.name}: OpenVINO cannot convert it ({first[:200]}): use the runtime torch"
        raise InputError(message) from error


def checked(run: Network, reference: nn.Module, spec: EncoderSpec) -> Network:
    """A runtime's network whose first batch is compared with torch.

    Args:
        run: What is checked.
        reference: The same network in float32, as torch runs it.
        spec: Names the encoder.

    Returns:
        As `run`. The first batch raises InputError if the cosine of a vector to torch's is below `LEAST_COSINE`.
    """
    waiting = [reference]  # held until the first batch only

    def first_checked(batch: Tensor) -> Tensor:
        found = run(batch)
        for one in waiting[:1]:  # a copy: another thread may clear it
            wanted = one(batch.float())
            cosine = float(functional.cosine_similarity(found.float(), wanted.float(), dim=1).min())
            if not cosine >= LEAST_COSINE[spec.precision]:
                message = (
                    f"encoder {spec.name}: this runtime's vectors differ from torch's in float32 (least "
                    f"cosine {cosine:.6f}, {LEAST_COSINE[spec.precision]} needed): use the runtime torch"
                )
                raise InputError(message)
            waiting.clear()
        return found

    return first_checked
