"""The training loop: its steps are those of a plain one, and what it chooses, keeps and leaves alone."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from locatlas.errors import InputError
from locatlas.models.training import curve, loop
from locatlas.models.training.log import read_log
from locatlas.models.training.loop import train
from locatlas.models.training.plan import TrainingPlan
from tests.models.training.regression import Regression


@pytest.fixture(autouse=True)
def curves(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Logs that a curve was to be drawn of; drawing takes longer than everything else here."""
    drawn: list[Path] = []
    monkeypatch.setattr(loop, "draw_curve", lambda log, _folder: drawn.append(log))
    return drawn


def plan(**changes: object) -> TrainingPlan:
    fields: dict = {"steps": 12, "batch_size": 8, "lr": 0.05, "workers": 1, "device": "cpu"}
    return TrainingPlan(**{**fields, **changes})


class Killed(Exception):
    """Stands for a process that ended."""


def killed_after(step: int) -> Callable[[str, int, int], None]:
    def progress(_what: str, done: int, _total: int) -> None:
        if done == step:
            raise Killed

    return progress


def steps_of(log: Path) -> list[dict]:
    """The lines of the steps without their times."""
    lines = [line for line in read_log(log) if line["kind"] == "step"]
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in lines]


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls_and_what_is_frozen_stays(tmp_path: Path, curves: list[Path]) -> None:
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
    assert curves == [result.log]
    assert equal(result.encoder_state, objective.encoder_state())


def test_the_steps_are_those_of_a_plain_loop_with_adamw(tmp_path: Path) -> None:
    settings = plan(steps=9, warmup=0.34, weight_decay=0.2, weight_decay_end=0.4, clip=1.5)
    mine, plain = Regression(), Regression()
    train(mine, settings, tmp_path)
    weights, biases = (group["params"] for group in plain.parameter_groups(0, 0))
    optimizer = torch.optim.AdamW([{"params": weights}, {"params": biases}], foreach=False)
    for step in range(9):
        # 3 steps of warm-up: 1/4, 2/4, 3/4 of the peak, then 6 of the cosine
        rate = (
            0.05 * (step + 1) / 4 if step < 3 else 1e-6 + (0.05 - 1e-6) * (1 + math.cos(math.pi * (step - 3) / 5)) / 2
        )
        decay = 0.4 + (0.2 - 0.4) * (1 + math.cos(math.pi * step / 8)) / 2
        optimizer.param_groups[0].update(lr=rate, weight_decay=decay)
        optimizer.param_groups[1].update(lr=rate * 0.5, weight_decay=0.0)
        optimizer.zero_grad()
        loss, _ = plain.module(plain.batch(plain.indices(step, 8), step), step)
        loss.backward()
        norm = torch.cat([one.grad.flatten() for one in weights + biases]).norm()
        for one in weights + biases:
            one.grad *= min(1.0, 1.5 / (norm.item() + 1e-6))
        optimizer.step()
        plain.after_step(step)
        line = steps_of(tmp_path / "log.jsonl")[step]
        assert line["step"] == step + 1
        assert [line[name] for name in ("loss", "lr", "wd", "grad_norm", "epoch")] == pytest.approx(
            [loss.item(), rate, decay, norm.item(), (step + 1) / 5], rel=1e-4
        )
    for name, value in plain.module.state_dict().items():
        torch.testing.assert_close(mine.module.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [8, 10])  # 10 in four parts: 3, 3, 2, 2
def test_parts_of_a_batch_add_up_to_the_batch(tmp_path: Path, batch_size: int) -> None:
    whole, parted = Regression(), Regression()
    train(whole, plan(batch_size=batch_size), tmp_path / "whole")
    train(parted, plan(batch_size=batch_size, accumulate=4), tmp_path / "parted")
    for name, value in whole.module.state_dict().items():
        torch.testing.assert_close(parted.module.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    pairs = zip(steps_of(tmp_path / "whole" / "log.jsonl"), steps_of(tmp_path / "parted" / "log.jsonl"), strict=True)
    for one, other in pairs:
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-4, abs=1e-6)


def test_a_curve_that_is_missing_is_drawn_where_the_run_has_ended(tmp_path: Path, curves: list[Path]) -> None:
    train(Regression(), plan(), tmp_path)
    assert curves == [tmp_path / "log.jsonl"]
    train(Regression(), plan(), tmp_path)  # killed before it was drawn
    assert curves == [tmp_path / "log.jsonl"] * 2
    (tmp_path / "curve.svg").touch()
    train(Regression(), plan(), tmp_path)
    assert len(curves) == 2


def test_validation_ends_a_run_early_and_the_best_weights_come_out(tmp_path: Path) -> None:
    scores = [math.nan] * 20
    scores[1], scores[3], scores[5], scores[7], scores[9] = 0.2, 0.7, 0.7, 0.6, 0.1
    objective = Regression(scores=scores)
    result = train(objective, plan(steps=20, validate_every=2, patience=3), tmp_path / "early")
    assert (result.stopped, result.steps, result.best_step) == ("early", 10, 4)
    assert result.metrics["validation.score"] == 0.7
    at_four = Regression()
    with pytest.raises(Killed):
        train(at_four, plan(steps=20), tmp_path / "four", progress=killed_after(4))
    assert equal(result.encoder_state, at_four.encoder_state())
    assert not equal(result.encoder_state, objective.encoder_state())


def test_without_patience_the_last_weights_come_out(tmp_path: Path) -> None:
    objective = Regression(scores=[0.9] + [0.1] * 11)
    result = train(objective, plan(), tmp_path)
    assert (result.best_step, result.stopped) == (None, "finished")
    assert equal(result.encoder_state, objective.encoder_state())
    # 40 images in batches of 8: an epoch is 5 steps; and once more at the end
    assert [line["step"] for line in read_log(result.log) if line["kind"] == "validation"] == [5, 10, 12]
    assert result.metrics["validation.score"] == 0.1


def test_a_batch_smaller_than_its_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a batch of 3 cannot be taken in 4 parts"):
        train(Regression(), plan(batch_size=3, accumulate=4), tmp_path)


def test_nothing_to_train_is_refused(tmp_path: Path) -> None:
    objective = Regression()
    objective.module.requires_grad_(False)
    with pytest.raises(InputError, match="no parameter to train"):
        train(objective, plan(), tmp_path)


def test_in_bf16_the_weights_stay_float32(tmp_path: Path) -> None:
    half, full = Regression(), Regression()
    train(half, plan(precision="bf16"), tmp_path / "half")
    train(full, plan(), tmp_path / "full")
    assert {value.dtype for value in half.module.state_dict().values()} == {torch.float32}
    first = [steps_of(tmp_path / name / "log.jsonl")[0]["loss"] for name in ("half", "full")]
    assert first[0] == pytest.approx(first[1], rel=0.02)
    assert first[0] != first[1]  # products were rounded


def test_the_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    objective = Regression(dropout=0.5)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(objective, plan(steps=2), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    one, other = (train(Regression(dropout=0.5), plan(seed=seed), tmp_path / str(seed)) for seed in (0, 1))
    assert not equal(one.encoder_state, other.encoder_state)


def test_the_plan_lies_beside_the_log(tmp_path: Path) -> None:
    train(Regression(), plan(), tmp_path, identity={"images": "a"})
    written = json.loads((tmp_path / "plan.json").read_text())
    assert (written["objective"], written["n_images"], written["n_steps"]) == ("regression", 40, 12)
    assert written["of"] == {"images": "a"}
    assert {**written["plan"], **written["free"]} == json.loads(json.dumps(plan().to_dict()))


def test_without_tensorboard_the_wish_for_it_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'locatlas\[tensorboard\]'"):
        train(Regression(), plan(tensorboard=True), tmp_path)


def test_without_matplotlib_the_weights_come_out_and_the_missing_curve_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(loop, "draw_curve", curve.draw_curve)
    assert train(Regression(), plan(), tmp_path).steps == 12
    assert "no curve drawn: a curve of the training needs matplotlib" in caplog.text
