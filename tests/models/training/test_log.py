import math
from pathlib import Path

import pytest

from locatlas.errors import InputError
from locatlas.models.training.log import TrainingLog, read_log


class Board:
    def __init__(self) -> None:
        self.seen: list[tuple[str, float, int]] = []
        self.is_closed = False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.seen.append((name, value, step))

    def close(self) -> None:
        self.is_closed = True


def test_lines_come_back_in_order_and_what_was_cut_off_does_not(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    log.write("step", {"step": 1, "loss": 0.5})
    kept = log.sync()
    log.write("step", {"step": 2, "loss": 0.4})
    log.close()
    again = TrainingLog(tmp_path / "log.jsonl", length=kept)
    again.write("step", {"step": 2, "loss": 0.3})
    again.close()
    assert read_log(tmp_path / "log.jsonl") == [
        {"kind": "step", "step": 1, "loss": 0.5},
        {"kind": "step", "step": 2, "loss": 0.3},
    ]


def test_an_unfinished_last_line_is_left_out_and_another_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind":"step","step":1}\n{"kind":"st')
    assert read_log(path) == [{"kind": "step", "step": 1}]
    path.write_text('{"kind":"step"}\n{"kin\n{}\n')
    with pytest.raises(InputError, match=r"log\.jsonl: line 2 is damaged"):
        read_log(path)
    with pytest.raises(InputError, match="nowhere: cannot be read"):
        read_log(tmp_path / "nowhere")


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    log.write("validation", {"score": math.nan, "metrics": {"f1": math.inf, "n": 3}})
    log.close()
    assert read_log(tmp_path / "log.jsonl") == [{"kind": "validation", "score": None, "metrics": {"f1": None, "n": 3}}]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    log = TrainingLog(tmp_path / "log.jsonl")
    with pytest.raises(InputError, match=r"log\.jsonl: cannot be written \(No space left on device\)$"):
        log.write("step", {"step": 1})
    log.close()


def test_tensorboard_sees_the_same_numbers(tmp_path: Path) -> None:
    log, board = TrainingLog(tmp_path / "log.jsonl"), Board()
    log.mirror(board)
    log.write("step", {"step": 4, "loss": 0.5, "metrics": {"kl": 0.25}, "lr": 0.1})
    log.write("stopped", {"step": 5, "reason": "why"})
    log.close()
    assert board.seen == [("step/loss", 0.5, 4), ("step/lr", 0.1, 4), ("step/kl", 0.25, 4)]
    assert board.is_closed
