"""Train a head on vectors: class-balanced batches, AdamW, stopped early by a validation part. No I/O."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from locatlas.errors import InputError, TrainingStoppedError
from locatlas.models.hardware import usable_device
from locatlas.models.training.heads import HeadSpec, build_head
from locatlas.models.training.losses import Labels, classification_loss
from locatlas.models.training.sampling import ClassBalanced, generator
from locatlas.models.training.scaler import Scaler
from locatlas.models.training.scores import macro_f1

__all__ = ["LOSSES", "FittedHead", "HeadPlan", "Loss", "fit_head"]

Loss = Literal["ce", "bce", "focal"]
LOSSES: tuple[Loss, ...] = get_args(Loss)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlan:
    """How a head is trained.

    Attributes:
        head: Its shape.
        labels: `single`, where each row has exactly one class, or `multi`.
        loss: `ce`, cross-entropy, single-label only; `bce`, binary cross-entropy of each class; `focal`, focal loss of
            the one that `labels` has by default. None for that one: `ce` for single, `bce` for multi.
        gamma: Of the focal loss.
        steps: Most optimizer steps; also the length of the learning rate's cosine to 0.
        batch_size: Rows a step, drawn with replacement such that all classes come equally often.
        lr: Learning rate of AdamW at the start; None for 0.01 of a linear head, which is convex, and 0.001 of others.
        weight_decay: Of AdamW, on weights and not on biases. 0.04 is that of DINO4Cells' heads.
        validate_every: Steps between looks at the validation part.
        patience: Looks without a better one after which it stops.
        threshold: Score from which on a class is predicted, in (0, 1), multi-label only.
    """

    head: HeadSpec = field(default_factory=HeadSpec)
    labels: Labels = "single"
    loss: Loss | None = None
    gamma: float = 2.0
    steps: int = 500
    batch_size: int = 128
    lr: float | None = None
    weight_decay: float = 0.04
    validate_every: int = 20
    patience: int = 10
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.labels not in get_args(Labels):
            message = f"labels = {self.labels!r}: one of {', '.join(get_args(Labels))} needed"
            raise InputError(message)
        if self.loss is not None and self.loss not in LOSSES:
            message = f"loss {self.loss!r}: one of {', '.join(LOSSES)} needed"
            raise InputError(message)
        if self.loss == "ce" and self.labels == "multi":
            message = "loss 'ce' knows one class a row only: bce or focal needed for labels 'multi'"
            raise InputError(message)
        for name in ("steps", "batch_size", "validate_every", "patience"):
            if getattr(self, name) < 1:
                message = f"head: {name} {getattr(self, name)}: at least 1 needed"
                raise InputError(message)
        if not 0 < self.threshold < 1:
            message = f"threshold {self.threshold} of a head's scores: inside (0, 1) needed"
            raise InputError(message)
        if not self.peak > 0 or self.weight_decay < 0 or self.gamma < 0:
            message = (
                f"head: lr {self.peak}, weight_decay {self.weight_decay}, gamma {self.gamma}: > 0, >= 0 and >= 0 needed"
            )
            raise InputError(message)

    @property
    def loss_name(self) -> Loss:
        """The loss in use."""
        return self.loss or ("ce" if self.labels == "single" else "bce")

    @property
    def peak(self) -> float:
        """The learning rate in use."""
        return (0.001 if self.head.widths else 0.01) if self.lr is None else self.lr

    @property
    def competing(self) -> Labels:
        """`single` where scores are a softmax over the classes, `multi` where they are a sigmoid of each."""
        return "multi" if self.loss_name == "bce" else self.labels

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        said = asdict(self) | {"loss": self.loss_name, "lr": self.peak}
        said["head"] = {"kind": self.head.kind, "hidden": list(self.head.widths), "dropout": self.head.rate}
        return said if self.loss_name == "focal" else {name: of for name, of in said.items() if name != "gamma"}


@dataclass(frozen=True, slots=True)
class Look:
    """How well a head does on its validation rows.

    Attributes:
        macro_f1: Mean F1 over the classes that they have.
        loss: Mean over these classes of the mean loss over their rows, so that it is balanced like the batches.
    """

    macro_f1: float
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """A trained head with the scale that it expects.

    Attributes:
        scaler: Of the rows it was trained on.
        network: In evaluation mode.
        classes: Columns of the label table that it tells apart: those of the rows it was trained on, int64 (k,).
        n_classes: Columns of the label table.
        competing: As `HeadPlan.competing`.
        step: Optimizer steps that it had.
        validation: At that step; None without a validation part.
    """

    scaler: Scaler
    network: nn.Module
    classes: NDArray[np.int64]
    n_classes: int
    competing: Labels
    step: int
    validation: Look | None

    def scores(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities that the head gives to each class.

        Args:
            vectors: As it was trained on, (n, d), not standardized.

        Returns:
            In [0, 1], (n, n_classes): each row sums to 1 for a softmax. A class that no row of the training part has is
            0 in all rows.
        """
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(self.scaler.apply(vectors)).to(device)).double()
        found = logits.softmax(dim=-1) if self.competing == "single" else logits.sigmoid()
        scores = np.zeros((len(vectors), self.n_classes))
        scores[:, self.classes] = found.cpu().numpy()
        return scores


def fit_head(
    vectors: NDArray[Any],
    table: NDArray[np.bool_],
    plan: HeadPlan,
    *,
    validation: tuple[NDArray[Any], NDArray[np.bool_]] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> FittedHead:
    """Train a head; nothing but these rows decides anything.

    The scale, the classes and their balance are those of the training rows. The validation rows decide the step of
    which the weights are kept: the one of the highest macro F1, and of the least loss where that is equal. (The loss
    alone stops much earlier, when the head has become too sure of itself but is still getting better.) The class of
    the highest score is predicted, for `multi` also all others from the threshold on. Without validation rows all steps
    are made and the last weights are kept.

    Args:
        vectors: Of the training rows, (n, d), finite.
        table: Their classes, bool (n, n_classes), each row with at least one; exactly one for `single`.
        plan: How to train.
        validation: The same of the validation rows; their rows that have only classes that no training row has count
            for nothing.
        seed: Of the initial weights, the batches and the dropout. Torch's own generators are left as they were.
        device: Where to train. On the CPU one thread is used: a step is too small to be shared, and threads that wait
            for each other on a busy machine take many times as long; nor does the result depend on their number.

    Raises:
        InputError: If there are no rows, lengths differ, a row has no class (or several, for `single`), or the device
            cannot be used here.
        TrainingStoppedError: If the loss is not finite any more.
    """
    _check_rows(vectors, table, plan.labels)
    classes = np.flatnonzero(table.any(axis=0))
    scaler = Scaler.fit(vectors)
    usable_device(device)
    seen = _Rows.of(vectors, table, classes, scaler, device)
    looks = None
    if validation is not None and (known := validation[1][:, classes].any(axis=1)).any():
        looks = _Rows.of(validation[0][known], validation[1][known], classes, scaler, device)
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), _one_thread():
        torch.manual_seed(seed)
        network = build_head(plan.head, vectors.shape[1], len(classes)).to(device)
        step, look = _train(network, seen, looks, plan, seed)
    network.eval()
    return FittedHead(scaler, network, classes, table.shape[1], plan.competing, step, look)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Standardized vectors, float targets (n, k), and the rows of each class that has any."""

    vectors: Tensor
    targets: Tensor
    table: NDArray[np.bool_]
    members: list[Tensor]

    @classmethod
    def of(
        cls, vectors: NDArray[Any], table: NDArray[np.bool_], classes: NDArray[np.int64], scaler: Scaler, device: str
    ) -> "_Rows":
        known = table[:, classes]
        members = [torch.from_numpy(np.flatnonzero(of)).to(device) for of in known.T if of.any()]
        targets = torch.from_numpy(known.astype(np.float32)).to(device)
        return cls(torch.from_numpy(scaler.apply(vectors)).to(device), targets, known, members)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch's products take one thread inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(network: nn.Module, seen: _Rows, looks: _Rows | None, plan: HeadPlan, seed: int) -> tuple[int, Look | None]:
    """Train in place; returns the step whose weights the network has in the end, and how it did on the validation."""
    gamma = plan.gamma if plan.loss_name == "focal" else 0.0
    decays = [{"params": [p], "weight_decay": plan.weight_decay if p.ndim > 1 else 0.0} for p in network.parameters()]
    optimizer = torch.optim.AdamW(decays, lr=plan.peak, fused=True)
    shares = torch.from_numpy(ClassBalanced(seen.table).shares)
    drawn = torch.multinomial(shares, plan.steps * plan.batch_size, replacement=True, generator=generator(seed, "rows"))
    batches = drawn.reshape(plan.steps, plan.batch_size).to(seen.vectors.device)
    best: Look | None = None
    best_step, since, state = 0, 0, network.state_dict()
    network.train()
    for step, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = plan.peak * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        loss = classification_loss(network(seen.vectors[rows]), seen.targets[rows], labels=plan.competing, gamma=gamma)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if (step + 1) % plan.validate_every and step + 1 < plan.steps:
            continue
        if not bool(torch.isfinite(loss)):
            message = f"the head's loss is {loss.item()} after {step + 1} steps: a smaller learning rate may help"
            raise TrainingStoppedError(message)
        if looks is None:
            continue
        found = _look(network, looks, plan, gamma)
        network.train()
        if best is None or (found.macro_f1, -found.loss) > (best.macro_f1, -best.loss):
            best, best_step, since, state = found, step + 1, 0, copy.deepcopy(network.state_dict())
        else:
            since += 1
        if since >= plan.patience:
            break
    if best is None:
        return plan.steps, None
    network.load_state_dict(state)
    return best_step, best


def _look(network: nn.Module, looks: _Rows, plan: HeadPlan, gamma: float) -> Look:
    """Score the validation rows."""
    network.eval()
    with torch.inference_mode():
        logits = network(looks.vectors)
        of_classes = [
            classification_loss(logits[rows], looks.targets[rows], labels=plan.competing, gamma=gamma)
            for rows in looks.members
        ]
    score = macro_f1(logits.cpu().numpy(), looks.table, labels=plan.labels, threshold=plan.threshold)
    return Look(score, float(torch.stack(of_classes).mean()))


def _check_rows(vectors: NDArray[Any], table: NDArray[np.bool_], labels: Labels) -> None:
    if vectors.ndim != 2 or len(vectors) != len(table) or not len(vectors):
        message = f"vectors of shape {vectors.shape} for labels of shape {table.shape}: as many rows, at least one"
        raise InputError(message)
    n_of = table.sum(axis=1)
    if (n_of == 0).any() or (labels == "single" and (n_of > 1).any()):
        message = f"{'exactly' if labels == 'single' else 'at least'} one class a row needed to train a head"
        raise InputError(message)
