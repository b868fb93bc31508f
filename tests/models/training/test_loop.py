from pathlib import Path

import pytest
import torch

from locatlas.models.training.log import read_log
from locatlas.models.training.loop import train
from locatlas.models.training.plan import TrainingPlan
from tests.models.training.regression import Regression


def plan(**changes: object) -> TrainingPlan:
    fields: dict = {"steps": 12, "batch_size": 8, "lr": 0.05, "workers": 1, "device": "cpu"}
    return TrainingPlan(**{**fields, **changes})


class Killed(Exception):
    """Stands for a process that ended."""


def killed_after(step: int):
    def progress(_what: str, done: int, _total: int) -> None:
        if done == step:
            raise Killed

    return progress


def steps_of(log: Path) -> list[dict]:
    """The lines of the steps without their times."""
    lines = [line for line in read_log(log) if line["kind"] == "step"]
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in lines]


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls_and_what_is_frozen_stays(tmp_path: Path) -> None:
    objective = Regression()
    head = objective.module.head.weight
    objective.module.head.requires_grad_(False)
    before = head.clone()
    result = train(objective, plan(steps=150), tmp_path)
    losses = [line["loss"] for line in steps_of(result.log)]
    assert sum(losses[-10:]) < 0.1 * sum(losses[:10])
    assert torch.equal(head, before)
    assert (result.steps, result.stopped, result.best_step, result.epochs) == (150, "finished", None, 30.0)
    assert objective.started == (150, torch.device("cpu"))
    assert result.metrics["loss"] == losses[-1]
    assert result.images_per_s > 0


def test_a_run_that_was_killed_and_resumed_is_the_run_that_was_not(tmp_path: Path) -> None:
    whole = Regression(dropout=0.2)
    train(whole, plan(), tmp_path / "whole")
    with pytest.raises(Killed):  # the checkpoint is of step 5, the log goes to 6
        train(Regression(dropout=0.2), plan(checkpoint_every_s=0), tmp_path / "cut", progress=killed_after(6))
    assert len(steps_of(tmp_path / "cut" / "log.jsonl")) == 6
    again = Regression(dropout=0.2)
    train(again, plan(workers=3), tmp_path / "cut")
    assert equal(again.module.state_dict(), whole.module.state_dict())
    assert steps_of(tmp_path / "cut" / "log.jsonl") == steps_of(tmp_path / "whole" / "log.jsonl")
