"""A small objective whose answer is known: a line through points, with dropout if wanted."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from locatlas.errors import TrainingStoppedError
from locatlas.models.training.objective import Validation

N = 40
WIDTH = 5


class Net(nn.Module):
    """A line, dropout before it and a frozen teacher beside it."""

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.encoder = nn.Linear(WIDTH, 3)
        self.head = nn.Linear(3, 1)
        self.teacher = nn.Linear(WIDTH, 3)
        for one in self.parameters():
            one.data = torch.randn(one.shape, generator=generator) * 0.3
        self.teacher.requires_grad_(False)
        self.register_buffer("centre", torch.zeros(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: tuple[Tensor, list[Tensor]], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, (y,) = batch
        loss = (self.head(self.dropout(self.encoder(x)))[:, 0] - y).pow(2).mean()
        return loss, {"step_seen": torch.tensor(float(step)), "mean_x": x.detach().mean()}


class Regression:
    """Least squares by gradient."""

    name = "regression"
    n_images = N

    def __init__(
        self,
        *,
        dropout: float = 0.0,
        scores: Sequence[float] | None = None,
        factors: Mapping[int, float] | None = None,
        broken: Mapping[int, Exception] | None = None,
        collapses_at: int | None = None,
    ) -> None:
        generator = torch.Generator().manual_seed(2)
        self.x = torch.randn(N, WIDTH, generator=generator)
        self.y = self.x @ torch.arange(1.0, WIDTH + 1)
        self.module = Net(dropout=dropout)
        self.scores = list(scores) if scores is not None else None
        self.looks = 0
        self.factors = dict(factors or {})
        self.broken = dict(broken or {})
        self.collapses_at = collapses_at
        self.started: tuple[int, torch.device] | None = None

    def start(self, n_steps: int, device: torch.device) -> None:
        self.started = (n_steps, device)

    def indices(self, step: int, batch_size: int) -> Sequence[int]:
        return torch.randperm(N, generator=torch.Generator().manual_seed(step))[:batch_size].tolist()

    def batch(self, indices: Sequence[int], step: int) -> Any:
        if step in self.broken:
            raise self.broken[step]
        rows = torch.tensor(list(indices))
        return self.x[rows], [self.y[rows] * self.factors.get(step, 1.0)]

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        net = self.module
        return [
            {"params": [net.encoder.weight, net.head.weight], "lr_scale": 1.0, "decays": True},
            {"params": [net.encoder.bias, net.head.bias], "lr_scale": 0.5, "decays": False},
        ]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        for mine, theirs in zip(self.module.teacher.parameters(), self.module.encoder.parameters(), strict=True):
            mine.lerp_(theirs, 0.1)
        self.module.centre += 1

    def check(self, metrics: Mapping[str, float], step: int) -> None:
        assert round(metrics["step_seen"], 3) == step
        if step == self.collapses_at:
            raise TrainingStoppedError("the features collapsed")

    def validate(self) -> Validation | None:
        if self.scores is None:
            return None
        score = self.scores[int(self.module.centre[0]) - 1]
        self.looks += 1
        return Validation(score, {"score": score})

    def encoder_state(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.module.encoder.state_dict().items()}
