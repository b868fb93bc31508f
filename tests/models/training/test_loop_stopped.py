"""Trainings that stop: by a kill, a key, a loss, a full disk; and what the same training goes on from."""

import dataclasses
import math
import signal
from pathlib import Path

import pytest
import torch

from locatlas.errors import ImageRejectedError, InputError, TrainingStoppedError, WeightsError
from locatlas.models.training.log import read_log
from locatlas.models.training.loop import train
from tests.models.training.regression import Regression
from tests.models.training.test_loop import Killed, curves, equal, killed_after, plan, steps_of

__all__ = ["curves"]


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


def test_without_resume_a_run_begins_anew(tmp_path: Path) -> None:
    first = train(Regression(), plan(), tmp_path)
    lines = steps_of(first.log)
    with pytest.raises(Killed):
        train(Regression(), plan(seed=3), tmp_path, progress=killed_after(2), resume=False)
    assert not (tmp_path / "checkpoint.pt").exists()
    again = train(Regression(), plan(), tmp_path, resume=False)
    assert steps_of(again.log) == lines


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
