"""What runs an encoder's network: torch, its compiler, or OpenVINO; the encoder is the same either way.

A runtime orders the same arithmetic in another way and is no part of a fingerprint (docs/decisions/0008-runtimes.md).
So another one than torch is never believed unseen: its first batch is compared with torch in float32, OpenVINO's once
for a processor, an encoder and the versions of all that takes part.
"""

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from locatlas.errors import InputError
from locatlas.models.converted import entry_of
from locatlas.models.lanes import in_one_thread
from locatlas.models.running import Runtime
from locatlas.models.spec import EncoderSpec, Precision

__all__ = ["LEAST_COSINE", "checked", "openvino_network", "runtime_version"]

LEAST_COSINE: dict[Precision, float] = {"fp32": 0.9999, "bf16": 0.9995}
"""Below this to torch's float32 vector of the same input, a runtime is refused. On 485 real cells torch's own bf16 has
a least cosine of 0.99988, OpenVINO's 0.99984."""

Network = Callable[[Tensor], Tensor]


def runtime_version(runtime: Runtime) -> str:
    """The runtime with its version, as the ledger keeps it.

    Raises:
        InputError: If it is not installed.
    """
    if runtime == "openvino":
        return f"openvino {_openvino().get_version()}"
    return f"torch {torch.__version__}" + (", compiled" if runtime == "compiled" else "")


def openvino_network(network: nn.Module, spec: EncoderSpec, fill: Callable[[], object], *, lanes: int = 1) -> Network:
    """A network that OpenVINO runs on the CPU; compiled once for each shape of a batch.

    It is converted once for each encoder and kept (`converted`), and so is that its vectors were compared with torch's:
    where both are known, torch's network needs no weights.

    Args:
        network: From `vit.build`; used as long as the result is.
        spec: Gives precision and name.
        fill: Gives the network its weights. Called here unless the converted network is kept, else when torch's vectors
            are needed; once.
        lanes: Threads that may call it at once; the cores are shared out among them.

    Returns:
        Float32 (b, slots, h, w) on the CPU to float32 (b, d). The first batch is compared with torch's (`checked`),
        unless batches of its shape were before, on this kind of processor.

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
    core = ov.Core()
    # without bf16 instructions OpenVINO would take float32 and not say so
    if _HINTS[spec.precision] == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        message = f"encoder {spec.name} is bf16, which OpenVINO does not multiply on this CPU: use the runtime torch"
        raise InputError(message)
    kept = entry_of(spec, network, ov.get_version())

    @cache
    def filled() -> nn.Module:
        in_one_thread(fill)
        return network.float().eval()

    if not kept:
        filled()
    processor = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]

    def conditions(shape: torch.Size) -> str:
        return f"{processor}, {spec.precision}, {lanes} lanes, {tuple(shape)}"

    def model_for(batch: Tensor) -> Any:
        model = kept.read(core)
        if model is None:
            model = _converted(ov, filled(), batch, spec)
            kept.write(ov, model)
        return model

    compiled: dict[torch.Size, Any] = {}
    compiling = threading.Lock()
    mine = threading.local()  # a request serves one thread at a time

    def run(batch: Tensor) -> Tensor:
        with compiling:
            if batch.shape not in compiled:
                compiled[batch.shape] = _compiled(core, model_for(batch), batch.shape, spec, lanes)
        requests: dict[torch.Size, Any] = vars(mine).setdefault("requests", {})
        if batch.shape not in requests:
            requests[batch.shape] = compiled[batch.shape].create_infer_request()
        result = requests[batch.shape].infer([batch.numpy()], share_inputs=True, share_outputs=False)
        return torch.from_numpy(result[0])

    return checked(
        run,
        lambda batch: filled()(batch),
        spec,
        known=lambda shape: kept.was_compared(conditions(shape)),
        note=lambda shape: kept.compared(conditions(shape)),
    )


def _openvino() -> Any:
    # its reports of use would go out to the network from a fork of this process, whose threads a fork leaves behind;
    # where the package that sends them cannot be imported, OpenVINO goes without
    reports = "openvino_telemetry"
    silent = reports not in sys.modules
    if silent:
        sys.modules[reports] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        message = f"runtime openvino: not installed ({error}); pip install 'locatlas[openvino]'"
        raise InputError(message) from error
    finally:
        if silent:
            del sys.modules[reports]
    return openvino


_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


def _converted(ov: Any, network: nn.Module, batch: Tensor, spec: EncoderSpec) -> Any:
    """OpenVINO's model of a network, for batches of any size."""
    # of one image, which is quicker: the size of a batch is no constant of the model
    one = batch[:1].clone()
    with _told(spec), torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        # tracing warns of branches by shape, which a conversion for one shape may take for settled
        warnings.simplefilter("ignore")
        # torch would trace it twice more to compare; `checked` compares what comes out in the end
        return ov.convert_model(torch.jit.trace(network, one, check_trace=False), example_input=one)


def _compiled(core: Any, model: Any, shape: torch.Size, spec: EncoderSpec, lanes: int) -> Any:
    """A model compiled for batches of a shape."""
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS[spec.precision], "PERFORMANCE_HINT": "LATENCY"}
    if lanes > 1:
        # not pinned: who reads images wants a core as well, and a pinned thread would wait for its own
        settings |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(lanes), "ENABLE_CPU_PINNING": False}
    with _told(spec):
        model.reshape(list(shape))
        return core.compile_model(model, "CPU", settings)


@contextmanager
def _told(spec: EncoderSpec) -> Iterator[None]:
    """Whatever tracing, converting and compiling raise, in one line: none of it is a fault of the caller."""
    try:
        yield
    except Exception as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        message = f"encoder {spec.name}: OpenVINO cannot convert it ({first[:200]}): use the runtime torch"
        raise InputError(message) from error


def checked(
    run: Network,
    reference: Network,
    spec: EncoderSpec,
    *,
    known: Callable[[torch.Size], bool] = lambda _: False,
    note: Callable[[torch.Size], object] = lambda _: None,
) -> Network:
    """A runtime's network whose first batch is compared with torch.

    Args:
        run: What is checked.
        reference: The same network in float32, as torch runs it.
        spec: Names the encoder.
        known: Whether batches of a shape were compared before and need not be again.
        note: Told of the shape once they were.

    Returns:
        As `run`. The first batch raises InputError if the cosine of a vector to torch's is below `LEAST_COSINE`.
    """
    return _Checked(run, reference, spec, known, note)


class _Checked:
    """See `checked`; the reference is held until the first batch only."""

    def __init__(
        self,
        run: Network,
        reference: Network,
        spec: EncoderSpec,
        known: Callable[[torch.Size], bool],
        note: Callable[[torch.Size], object],
    ) -> None:
        self._run = run
        self._reference: Network | None = reference
        self._spec = spec
        self._known = known
        self._note = note

    def __call__(self, batch: Tensor) -> Tensor:
        found = self._run(batch)
        reference = self._reference  # another thread may be through with it meanwhile
        if reference is not None:
            if not self._known(batch.shape):
                self._compare(found, reference(batch.float()))
                self._note(batch.shape)
            self._reference = None
        return found

    def _compare(self, found: Tensor, wanted: Tensor) -> None:
        cosine = float(functional.cosine_similarity(found.float(), wanted.float(), dim=1).min())
        least = LEAST_COSINE[self._spec.precision]
        if not cosine >= least:
            message = (
                f"encoder {self._spec.name}: this runtime's vectors differ from torch's in float32 (least "
                f"cosine {cosine:.6f}, {least} needed): use the runtime torch"
            )
            raise InputError(message)
