"""Make `import timm` work where a CPU build of torch stands beside a torchvision built for CUDA.

timm imports torchvision, and torchvision 0.28 attaches Python implementations to its own compiled operators while it
is imported. PyPI's torchvision is built for CUDA; beside a CPU build of torch its compiled part cannot be loaded, the
operators do not exist, and the import ends with *operator torchvision::nms does not exist*. locatlas uses none of
these operators. Declaring their names and signatures is enough for the import; calling one still fails, as it should.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

__all__ = ["import_timm"]

# Signatures as in torchvision/csrc/ops/nms.cpp and quantized/cpu/qnms_kernel.cpp: what torchvision's import needs.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[Any] = []  # torch forgets a declaration when its Library object is collected


def import_timm() -> ModuleType:
    """The module timm; torchvision's missing operators are declared first, and only if it cannot be imported as it is.

    Raises:
        ImportError: If timm or torchvision is not installed.
        RuntimeError: If torchvision fails for any other reason than its missing operators.
    """
    if "timm" not in sys.modules:
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            if "operator torchvision::" not in str(error) or "does not exist" not in str(error):
                raise
            for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
                del sys.modules[name]  # half imported: the second try starts afresh
            _declare_missing()
    return importlib.import_module("timm")


def _declare_missing() -> None:
    """Declare those of torchvision's operators that torch does not know."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    _declared.append(library)
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
