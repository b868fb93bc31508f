import dataclasses
import json
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from locatlas.errors import ImageRejectedError, InputError, TrainingStoppedError, WeightsError
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


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_was_cut_off_and_resumed_is_the_run_that_was_not(tmp_path: Path, accumulate: int) -> None:
    scores = [0.1, 0.3, 0.2, 0.5, 0.4, 0.3, 0.6, 0.1, 0.2, 0.3, 0.4, 0.5]
    made = {"dropout": 0.2, "scores": scores}
    settings = plan(accumulate=accumulate, validate_every=1, patience=20)
    whole = Regression(**made)
    result = train(whole, settings, tmp_path / "whole")
    often = dataclasses.replace(settings, checkpoint_every_s=0.0)
    for step in (1, 4, 9):  # the line of the step is written, its checkpoint is not
        with pytest.raises(Killed):
            train(Regression(**made), often, tmp_path / "cut", progress=killed_after(step))
        assert len(steps_of(tmp_path / "cut" / "log.jsonl")) == step
    again = Regression(**made)
    resumed = train(again, dataclasses.replace(settings, workers=3), tmp_path / "cut")
    assert again.looks == 4
    assert equal(again.module.state_dict(), whole.module.state_dict())
    assert equal(resumed.encoder_state, result.encoder_state)
    assert (resumed.best_step, resumed.metrics) == (result.best_step, result.metrics) == (7, result.metrics)
    assert steps_of(resumed.log) == steps_of(result.log)
    assert [line["step"] for line in read_log(resumed.log) if line["kind"] == "validation"] == list(range(1, 13))


def test_a_finished_run_gives_its_result_again_without_a_step(tmp_path: Path) -> None:
    first = train(Regression(), plan(), tmp_path)
    text = first.log.read_text()
    again = Regression(broken={step: ImageRejectedError("never read") for step in range(12)})
    second = train(again, plan(), tmp_path)
    assert equal(second.encoder_state, first.encoder_state)
    assert (second.steps, second.metrics, second.seconds) == (first.steps, first.metrics, first.seconds)
    assert second.log.read_text() == text


def test_a_curve_that_is_missing_is_drawn_where_the_run_has_ended(tmp_path: Path, curves: list[Path]) -> None:
    train(Regression(), plan(), tmp_path)
    assert curves == [tmp_path / "log.jsonl"]
    train(Regression(), plan(), tmp_path)  # killed before it was drawn
    assert curves == [tmp_path / "log.jsonl"] * 2
    (tmp_path / "curve.svg").touch()
    train(Regression(), plan(), tmp_path)
    assert len(curves) == 2


def test_without_resume_a_run_begins_anew(tmp_path: Path) -> None:
    first = train(Regression(), plan(), tmp_path)
    lines = steps_of(first.log)
    with pytest.raises(Killed):
        train(Regression(), plan(seed=3), tmp_path, progress=killed_after(2), resume=False)
    assert not (tmp_path / "checkpoint.pt").exists()
    again = train(Regression(), plan(), tmp_path, resume=False)
    assert steps_of(again.log) == lines


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


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_reaches_the_weights(tmp_path: Path, factor: float) -> None:
    objective = Regression(factors={6: factor})
    with pytest.raises(TrainingStoppedError, match=r"stopped at step 7: the loss is (nan|inf); last good"):
        train(objective, plan(checkpoint_every_s=0.0), tmp_path)
    assert all(value.isfinite().all() for value in objective.module.state_dict().values())
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["step"] == 6
    assert read_log(tmp_path / "log.jsonl")[-1]["kind"] == "stopped"
    with pytest.raises(TrainingStoppedError, match="of step 6"):
        train(Regression(factors={6: factor}), plan(), tmp_path)


def test_a_loss_that_explodes_stops_the_run_and_leaves_a_checkpoint_from_before(tmp_path: Path) -> None:
    factors = dict.fromkeys(range(25, 60), 100.0)
    with pytest.raises(TrainingStoppedError, match=r"the loss explodes") as caught:
        train(Regression(factors=factors), plan(steps=60, lr=1e-3, checkpoint_every_s=0.0), tmp_path)
    assert "of step 25" in str(caught.value)


def test_what_the_objective_finds_wrong_is_told_with_its_step(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingStoppedError, match=r"^training stopped at step 4: the features collapsed; no checkpoint yet$"
    ):
        train(Regression(collapses_at=3), plan(), tmp_path)


def test_an_image_that_cannot_be_read_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(ImageRejectedError, match=r"field\.tif: blank"):
        train(Regression(broken={4: ImageRejectedError("field.tif: blank")}), plan(), tmp_path)
    assert train(Regression(), plan(), tmp_path).steps == 12


def test_out_of_memory_ends_a_training_with_advice_and_its_last_checkpoint(tmp_path: Path) -> None:
    full = Regression(broken={4: torch.OutOfMemoryError("CUDA out of memory")})
    with pytest.raises(
        TrainingStoppedError,
        match=r"step \d+: the memory of cpu does not take 8 images in 1 parts; take them in 2 \(acc",
    ):
        train(full, plan(), tmp_path)


def test_sigterm_stops_a_training_as_ctrl_c_does_where_the_program_handles_it(tmp_path: Path) -> None:
    def interrupt(_what: str, done: int, _total: int) -> None:
        if done == 3:
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(Regression(), plan(), tmp_path, progress=interrupt)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(steps_of(tmp_path / "log.jsonl")) == 3
    assert train(Regression(), plan(), tmp_path).steps == 12


def test_ctrl_c_leaves_a_checkpoint_from_which_nothing_is_lost(tmp_path: Path) -> None:
    def interrupt(_what: str, done: int, _total: int) -> None:
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(Regression(dropout=0.2), plan(), tmp_path / "cut", progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(steps_of(tmp_path / "cut" / "log.jsonl")) == 3
    done: list[int] = []
    again, whole = Regression(dropout=0.2), Regression(dropout=0.2)
    train(again, plan(), tmp_path / "cut", progress=lambda _what, step, _total: done.append(step))
    train(whole, plan(), tmp_path / "whole")
    assert done == list(range(4, 13))
    assert equal(again.module.state_dict(), whole.module.state_dict())


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    def interrupt(_what: str, _done: int, _total: int) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(Regression(), plan(), tmp_path, progress=interrupt)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("changes", "identity", "said"),
    [
        ({"lr": 0.01}, {"images": "a"}, r"plan\.lr 0\.05 there, 0\.01 now"),
        ({"seed": 4, "clip": None}, {"images": "a"}, r"plan\.clip 3\.0 there, None now; plan\.seed 0 there, 4 now"),
        ({}, {"images": "b"}, r"of\.images a there, b now"),
        ({"steps": 14}, {"images": "a"}, r"n_steps 12 there, 14 now"),
    ],
)
def test_another_training_is_not_resumed(tmp_path: Path, changes: dict, identity: dict, said: str) -> None:
    train(Regression(), plan(), tmp_path, identity={"images": "a"})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=said):
        train(Regression(), plan(**changes), tmp_path, identity=identity)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_does_not_decide_the_result_may_change_when_resuming(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(Regression(), plan(checkpoint_every_s=0.0), tmp_path, progress=killed_after(5))
    assert train(Regression(), plan(workers=2, device="auto"), tmp_path).steps == 12


def test_a_checkpoint_of_other_networks_or_a_damaged_one_is_told(tmp_path: Path) -> None:
    train(Regression(), plan(), tmp_path)
    objective = Regression()
    objective.module.extra = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"checkpoint\.pt: of other networks .*extra"):
        train(objective, plan(), tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(WeightsError, match=r"checkpoint\.pt"):
        train(Regression(), plan(), tmp_path)


def test_a_log_that_was_deleted_is_told(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(Regression(), plan(checkpoint_every_s=0.0), tmp_path, progress=killed_after(5))
    (tmp_path / "log.jsonl").unlink()
    with pytest.raises(InputError, match=r"log\.jsonl: 0 bytes"):
        train(Regression(), plan(), tmp_path)


def test_a_folder_is_held_by_one_training_at_a_time(tmp_path: Path) -> None:
    def second(_what: str, _done: int, _total: int) -> None:
        with pytest.raises(InputError, match="another training runs in it"):
            train(Regression(), plan(), tmp_path)

    assert train(Regression(), plan(steps=1), tmp_path, progress=second).steps == 1


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/run: cannot be written \(Not a directory\)"):
        train(Regression(), plan(), tmp_path / "file" / "run")


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    def fill(_what: str, done: int, _total: int) -> None:
        if done == 5:
            (tmp_path / ".checkpoint.pt.tmp").symlink_to("/dev/full")

    with pytest.raises(InputError, match=r"checkpoint\.pt: cannot be written \(.*\); the last checkpoint is kept"):
        train(Regression(), plan(checkpoint_every_s=0.0), tmp_path, progress=fill)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["step"] == 4
    assert train(Regression(), plan(), tmp_path).steps == 12


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
