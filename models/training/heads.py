"""Classification heads that stand on an encoder's vectors. torch is imported when one is built."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from locatlas.errors import InputError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["HEADS", "HeadKind", "HeadSpec", "build_head"]

HeadKind = Literal["linear", "mlp", "wide"]
HEADS: tuple[HeadKind, ...] = get_args(HeadKind)

_HIDDEN: dict[str, tuple[int, ...]] = {
    "linear": (),
    "mlp": (512, 256),  # `simple_clf` of DINO4Cells
    "wide": (1024,),  # the released FOV protein classifier of DINO4Cells: `residual_add_clf` with n_layers 2
}
_DROPOUT: dict[str, float] = {"linear": 0.0, "mlp": 0.5, "wide": 0.0}  # 0.5: `simple_clf` of DINO4Cells


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """A head's shape.

    Attributes:
        kind: `linear`; `mlp`, d-512-256-C with dropout; `wide`, one hidden layer of 1024.
        hidden: Widths of the hidden layers, each followed by ReLU and dropout; None for those of the kind.
        dropout: Share of hidden units that are zeroed in training, in [0, 1); None for that of the kind.
    """

    kind: HeadKind = "linear"
    hidden: tuple[int, ...] | None = None
    dropout: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in HEADS:
            message = f"head {self.kind!r}: one of {', '.join(HEADS)} needed"
            raise InputError(message)
        if self.hidden is not None and any(width < 1 for width in self.hidden):
            message = f"head: hidden widths {self.hidden}: at least 1 needed"
            raise InputError(message)
        if self.dropout is not None and not 0 <= self.dropout < 1:
            message = f"head: dropout {self.dropout}: in [0, 1) needed"
            raise InputError(message)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the hidden layers."""
        return _HIDDEN[self.kind] if self.hidden is None else self.hidden

    @property
    def rate(self) -> float:
        """Share of hidden units that are zeroed in training."""
        return _DROPOUT[self.kind] if self.dropout is None else self.dropout


def build_head(spec: HeadSpec, dim: int, n_classes: int) -> "nn.Module":
    """A head with torch's initial weights, drawn from the global generator.

    Args:
        spec: Its shape.
        dim: Numbers of a vector, >= 1.
        n_classes: Outputs, >= 1.

    Returns:
        A module that takes float (b, dim) to logits (b, n_classes).

    Raises:
        InputError: If `dim` or `n_classes` is smaller than 1.
    """
    from torch import nn

    if dim < 1 or n_classes < 1:
        message = f"a head of {dim} numbers to {n_classes} classes: at least 1 of each needed"
        raise InputError(message)
    layers: list[nn.Module] = []
    width = dim
    for wider in spec.widths:
        layers += [nn.Linear(width, wider), nn.ReLU()]
        if spec.rate:
            layers.append(nn.Dropout(spec.rate))
        width = wider
    return nn.Sequential(*layers, nn.Linear(width, n_classes))
