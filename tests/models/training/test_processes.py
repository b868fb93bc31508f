"""Trainings in processes of their own: several that train together, and one that is killed."""

import json
import signal
from pathlib import Path

import pytest
import torch

from locatlas.errors import InputError
from locatlas.models.training import loop
from locatlas.models.training.distributed import is_first_process, processes, share
from locatlas.models.training.log import read_log
from locatlas.models.training.loop import train
from locatlas.models.training.plan import TrainingPlan
from tests.forking import OF_EACH_RANK, Forks, torchrun
from tests.models.training.regression import Regression


@pytest.fixture(autouse=True)
def no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else here."""
    monkeypatch.setattr(loop, "draw_curve", lambda *_: None)


PLAN = {"steps": 6, "batch_size": 10, "lr": 0.05, "workers": 1, "device": "cpu"}


MAIN = "from tests.models.training.run_regression import main"


def lines_of(log: Path) -> list[dict]:
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in read_log(log)]


def test_two_processes_take_the_steps_of_one(tmp_path: Path, commands: Forks) -> None:
    settings = {"plan": {**PLAN, "accumulate": 2}, "objective": {"scores": [0.1, 0.5, 0.2, 0.1, 0.1, 0.1]}}
    settings["plan"] |= {"validate_every": 1, "patience": 3}
    environment = {**torchrun(), "RUN": json.dumps(settings)}
    both = commands.run(MAIN + OF_EACH_RANK, tmp_path, environment=environment)
    assert both.returncode == 0, both.stderr
    alone = Regression(scores=[0.1, 0.5, 0.2, 0.1, 0.1, 0.1])
    result = train(alone, TrainingPlan(**PLAN, validate_every=1, patience=3), tmp_path / "alone")
    assert result.stopped == "early"
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    for name, value in alone.module.state_dict().items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], value, rtol=1e-4, atol=1e-5)
    together, one = (lines_of(folder / "log.jsonl") for folder in (tmp_path, tmp_path / "alone"))
    assert [line["step"] for line in together] == [line["step"] for line in one]
    for mine, theirs in zip(together, one, strict=True):
        if mine["kind"] == "step":
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
            assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
            assert mine["metrics"] == pytest.approx(theirs["metrics"], rel=1e-4, abs=1e-6)


def test_after_kill_9_a_resumed_run_is_bit_for_bit_the_one_that_was_not_killed(tmp_path: Path, commands: Forks) -> None:
    plan = {**PLAN, "checkpoint_every_s": 0.0}
    settings = {"plan": plan, "objective": {"dropout": 0.3}, "kill_after": 4}
    ended = commands.run(f"{MAIN}\nmain()", tmp_path / "cut", environment={"RUN": json.dumps(settings)})
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    # what a kill in the middle of a line and of a checkpoint leaves
    with (tmp_path / "cut" / "log.jsonl").open("ab") as file:
        file.write(b'{"kind":"st')
    (tmp_path / "cut" / ".checkpoint.pt.tmp").write_bytes(b"half of one")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    again, whole = Regression(dropout=0.3), Regression(dropout=0.3)
    train(again, TrainingPlan(**PLAN), tmp_path / "cut")
    train(whole, TrainingPlan(**PLAN), tmp_path / "whole")
    torch.set_num_threads(threads)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[name], value)
    assert lines_of(tmp_path / "cut" / "log.jsonl") == lines_of(tmp_path / "whole" / "log.jsonl")
    assert not (tmp_path / "cut" / ".checkpoint.pt.tmp").exists()


@pytest.mark.parametrize("n", [0, 1, 7, 8, 23])
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_shares_are_even_and_together_the_whole(n: int, parts: int) -> None:
    whole = list(range(100, 100 + n))
    shares = [share(whole, part, parts) for part in range(parts)]
    assert [one for part in shares for one in part] == whole
    sizes = [len(part) for part in shares]
    assert max(sizes) - min(sizes) <= 1


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with processes("cpu", {}) as team:
        assert (team.rank, team.world, team.device, team.writes) == (0, 1, torch.device("cpu"), True)
        assert team.from_first([1.0, 2.0]) == [1.0, 2.0]
        module = torch.nn.Linear(1, 1)
        assert team.wrap(module) is module
    assert is_first_process({})
    assert not is_first_process({"RANK": "1"})


def test_a_device_that_is_not_here_is_one_line() -> None:
    with pytest.raises(InputError, match="device 'nonsense' cannot be used here"), processes("nonsense", {}):
        pass
