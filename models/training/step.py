"""One optimizer step: parts of the batch, autocast, gradients, clipping, AdamW."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from locatlas.errors import InputError
from locatlas.models.precision import for_autocast
from locatlas.models.training.distributed import Processes, share
from locatlas.models.training.objective import Objective
from locatlas.models.training.plan import TrainingPlan
from locatlas.models.training.prefetch import pinned, to_device
from locatlas.models.training.schedules import cosine, warmed_cosine, warmup_steps
from locatlas.models.training.stopping import Divergence

__all__ = ["StepDone", "Stepper", "step_seed"]


def step_seed(seed: int, step: int, rank: int) -> int:
    """What torch is seeded with before a step, in [0, 2^63): dropout is a function of it alone."""
    digest = hashlib.sha256(f"{seed}:{step}:{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class StepDone:
    """What a step says of itself; means over the batch and all processes.

    Attributes:
        loss: Mean over the batch.
        metrics: The objective's own.
        grad_norm: Euclidean, before clipping.
        lr: Rate of groups of scale 1.
        weight_decay: Of groups that decay.
        images: In the batch, over all processes.
        is_interrupted: Whether any process was asked to stop.
    """

    loss: float
    metrics: dict[str, float]
    grad_norm: float
    lr: float
    weight_decay: float
    images: int
    is_interrupted: bool


class Stepper:
    """The networks of an objective with their optimizer.

    Args:
        objective: Its module is moved to the device.
        plan: Rates and batch size.
        n_steps: All steps.
        team: This process among those that train.

    Raises:
        InputError: If a batch has fewer images than parts, or nothing is to be trained.
    """

    def __init__(self, objective: Objective, plan: TrainingPlan, n_steps: int, team: Processes) -> None:
        self._objective, self._plan, self._n_steps, self._team = objective, plan, n_steps, team
        self._n_parts = team.world * plan.accumulate
        if plan.batch_size < self._n_parts:
            message = (
                f"training: a batch of {plan.batch_size} cannot be taken in {plan.accumulate} parts "
                f"by {team.world} processes"
            )
            raise InputError(message)
        objective.module.to(team.device)
        objective.module.train()
        if plan.precision == "bf16":
            for_autocast(objective.module, team.device)
        self._parameters = [one for one in objective.module.parameters() if one.requires_grad]
        if not self._parameters:
            message = f"training: objective {objective.name} has no parameter to train"
            raise InputError(message)
        groups = objective.parameter_groups(plan.lr, plan.weight_decay)
        # one kernel a group instead of a dozen small ones a tensor
        self._optimizer = torch.optim.AdamW(groups, lr=plan.lr, fused=team.device.type in ("cpu", "cuda"))
        self._module = team.wrap(objective.module)
        self._n_warmup = warmup_steps(plan.warmup, n_steps)

    def part(self, number: int) -> tuple[Any, int, int]:
        """Read one part of a step's batch; called in threads.

        Args:
            number: Counts the parts of this process through all steps.

        Returns:
            The batch on the CPU, its number of images, and that of the step over all parts and processes.
        """
        step, part = divmod(number, self._plan.accumulate)
        whole = self._objective.indices(step, self._plan.batch_size)
        mine = share(whole, self._team.rank * self._plan.accumulate + part, self._n_parts)
        if len(whole) < self._n_parts:
            message = f"training: step {step + 1} has {len(whole)} images for {self._n_parts} parts"
            raise InputError(message)
        batch = self._objective.batch(mine, step)
        if self._team.device.type == "cuda":
            batch = pinned(batch)
        return batch, len(mine), len(whole)

    def step(self, parts: Iterator[Any], step: int, divergence: Divergence, *, interrupted: bool) -> StepDone:
        """Take one step.

        Args:
            parts: Of this process, from `part`, in order.
            step: From 0.
            divergence: Looks at the loss before the weights are changed.
            interrupted: Whether this process was asked to stop; told to all.

        Raises:
            TrainingStoppedError: If the training diverged or collapsed; the weights are those of the step before.
        """
        plan = self._plan
        self._seed(step)
        self._optimizer.zero_grad(set_to_none=True)
        names, sums, images = self._accumulate(parts, step)
        norm = (
            nn.utils.clip_grad_norm_(self._parameters, plan.clip)
            if plan.clip is not None
            else nn.utils.get_total_norm([one.grad for one in self._parameters if one.grad is not None])
        )
        own = torch.tensor([float(interrupted)], device=sums.device)
        # one transfer a step: whatever is waited for on a GPU is waited for once
        told = torch.cat([self._team.total(torch.cat([sums, own])), norm.detach().float().reshape(1)]).tolist()
        metrics = dict(zip(names, told[1:-2], strict=True))
        divergence.watch(told[0], told[-1])
        self._objective.check(metrics, step)
        rate = warmed_cosine(step, self._n_steps, plan.lr, plan.lr_end, self._n_warmup)
        end = plan.weight_decay if plan.weight_decay_end is None else plan.weight_decay_end
        decay = cosine(step, self._n_steps, plan.weight_decay, end)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
            group["weight_decay"] = decay if group.get("decays", True) else 0.0
        self._optimizer.step()
        self._objective.after_step(step)
        return StepDone(told[0], metrics, told[-1], rate, decay, images, told[-2] > 0)

    def _seed(self, step: int) -> None:
        # torch.manual_seed seeds every kind of device and, where CUDA sleeps, formats a traceback: 0.6 ms
        seed = step_seed(self._plan.seed, step, self._team.rank)
        torch.default_generator.manual_seed(seed)
        if self._team.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _accumulate(self, parts: Iterator[Any], step: int) -> tuple[list[str], Tensor, int]:
        """Gradients of the mean loss over the whole batch.

        Returns:
            Names of the metrics, sorted; this process' share of the means of loss and metrics, float32 on the device,
            (1 + metrics,); images of the batch.
        """
        plan, team = self._plan, self._team
        total: Tensor | None = None
        names: list[str] = []
        images = 0
        for part in range(plan.accumulate):
            batch, n, images = next(parts)
            # processes meet in the last part only
            with team.apart(self._module) if part < plan.accumulate - 1 else nullcontext():
                with self.autocast():
                    loss, metrics = self._module(to_device(batch, team.device), step)
                # parts need not be equal, and processes take the mean of their gradients
                (loss.float() * (n * team.world / images)).backward()
            names = sorted(metrics)
            values = [loss.detach(), *(torch.as_tensor(metrics[name], device=team.device) for name in names)]
            told = torch.stack([value.float() for value in values]) * (n / images)
            total = told if total is None else total + told
        assert total is not None
        return names, total, images

    def autocast(self) -> torch.autocast:
        """The plan's precision, as a context."""
        return torch.autocast(self._team.device.type, torch.bfloat16, enabled=self._plan.precision == "bf16")

    def state(self) -> dict[str, Any]:
        """Networks and optimizer, for the checkpoint; shares memory with them."""
        return {"module": self._objective.module.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load(self, state: Mapping[str, Any], path: Path) -> None:
        """Take up what `state` gave.

        Args:
            state: As read from a checkpoint.
            path: Of the checkpoint, for messages.

        Raises:
            InputError: If it is of other networks.
        """
        try:
            self._objective.module.load_state_dict(state["module"])
            self._optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            message = f"{path}: of other networks ({' '.join(lines[:2])[:300]})"
            raise InputError(message) from error
