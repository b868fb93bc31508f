"""What a plan of a training may not be."""

from typing import Any

import pytest

from locatlas.errors import InputError
from locatlas.models.training.plan import TrainingPlan


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"patience": 0},
        {"validate_every": 0},
        {"clip": 0.0},
        {"precision": "fp16"},
        {"weight_decay": -0.1},
        {"weight_decay_end": -0.1},
        {"lr_end": -1e-6},
        {"lr": 0.0},
        {"warmup": 1.0},
    ],
)
def test_what_would_be_ignored_or_train_nothing_is_refused(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(InputError, match=name):
        TrainingPlan(**{"steps": 3, **wrong})


def test_steps_or_epochs_say_how_long() -> None:
    for both in ({}, {"steps": 1, "epochs": 1.0}):
        with pytest.raises(InputError, match="either steps or epochs"):
            TrainingPlan(**both)
    assert TrainingPlan(epochs=2.5, batch_size=10).n_steps(40) == 10
    assert TrainingPlan(epochs=0.01).n_steps(40) == 1
