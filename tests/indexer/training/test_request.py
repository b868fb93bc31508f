"""What may be asked of a training, and the settings that follow."""

import json
from typing import Any

import pytest

from locatlas.errors import InputError
from locatlas.indexer.training.request import FinetuneRequest, settled_plan
from locatlas.models.training.dino_options import DinoOptions


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"objective": "magic"}, "objective 'magic': one of supervised, dino"),
        ({"epochs": 1, "steps": 3}, "in epochs or in steps, not in both"),
        ({"hold_out": 1.0}, "hold-out 1.0"),
        ({"fraction": 0}, "fraction 0"),
        ({"validation": -0.1}, "validation -0.1"),
        ({"architecture": "locatlas_pico"}, "belongs to a training from scratch"),
        ({"batch_size": 0}, "batch size 0"),
        ({"lr": 0.0}, "learning rate 0.0"),
        ({"objective": "dino", "head": "mlp"}, "dino takes no labels"),
        ({"objective": "dino", "label_source": "annotated"}, "dino takes no labels"),
        ({"dino": DinoOptions()}, "belong to objective dino"),
        ({"from_scratch": True}, "belong to objective dino"),
    ],
)
def test_what_contradicts_itself_is_refused(asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        FinetuneRequest(**asked)


def test_equal_requests_are_equal_as_json_and_different_ones_are_not() -> None:
    one, same, other = (
        FinetuneRequest(objective="dino", where=where, dino=DinoOptions(n_local=n))  # type: ignore[arg-type]
        for where, n in ((["a=b"], 2), (("a=b",), 2), (("a=b",), 3))
    )
    assert one == same
    assert json.dumps(one.to_dict()) == json.dumps(same.to_dict()) != json.dumps(other.to_dict())


@pytest.mark.parametrize(
    ("asked", "n", "steps", "batch"),
    [
        ({}, 10, 100, 16),
        ({}, 300, 375, 16),  # 20 passes
        ({}, 1000, 625, 32),
        ({}, 5000, 1562, 64),
        ({}, 1_000_000, 4000, 64),
        ({"objective": "dino"}, 300, 562, 16),
        ({"objective": "dino", "from_scratch": True}, 300, 1875, 16),
        ({"steps": 7, "batch_size": 5}, 300, 7, 5),
        ({"epochs": 2, "batch_size": 30}, 300, 20, 30),
    ],
)
def test_the_length_suits_small_and_large_collections(asked: dict[str, Any], n: int, steps: int, batch: int) -> None:
    plan = settled_plan(FinetuneRequest(**asked), n, cuda=False, free={})
    assert (plan.n_steps(n), plan.batch_size, plan.precision) == (steps, batch, "fp32")


def test_precision_follows_the_gpu_unless_it_is_named_and_dino_is_not_stopped_early() -> None:
    assert settled_plan(FinetuneRequest(), 50, cuda=True, free={}).precision == "bf16"
    plan = settled_plan(FinetuneRequest(precision="fp32", objective="dino"), 50, cuda=True, free={"device": "cuda:1"})
    assert (plan.precision, plan.patience, plan.device) == ("fp32", None, "cuda:1")
    assert settled_plan(FinetuneRequest(patience=3), 50, cuda=True, free={}).patience == 3
