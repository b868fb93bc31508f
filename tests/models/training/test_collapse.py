"""When features count as collapsed."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from locatlas.errors import TrainingStoppedError
from locatlas.models.training.collapse import CollapseWatch, entropy, feature_sd

HEALTHY = {"feature_sd": 0.5, "teacher_entropy": 2.0, "information": 1.0, "kl": 0.5}
ALIKE = {"feature_sd": 0.5, "teacher_entropy": math.log(64) - 1e-4, "information": 1e-6, "kl": 1e-4}
ONE = {"feature_sd": 0.5, "teacher_entropy": 1e-4, "information": 1e-6, "kl": 1e-4}
SAME = {**HEALTHY, "feature_sd": 1e-5}


def stops_at(metrics: dict[str, float], n_prototypes: int | None = 64, **settings: int) -> int | None:
    watch = CollapseWatch(n_prototypes, **{"grace": 10, "patience": 5, **settings})
    for step in range(100):
        try:
            watch.look(metrics, step)
        except TrainingStoppedError:
            return step
    return None


@pytest.mark.parametrize("metrics", [ALIKE, ONE, SAME])
def test_a_run_of_collapsed_steps_after_the_grace_stops(metrics: dict) -> None:
    assert stops_at(metrics) == 14
    assert stops_at(metrics, grace=0, patience=1) == 0


@pytest.mark.parametrize(
    "metrics",
    [
        HEALTHY,
        {**ALIKE, "kl": 0.5},  # the student still has something to learn
        {**ALIKE, "information": 0.1},  # images are told apart
        {**ONE, "information": 2.0, "kl": 0.5},  # each image has its own prototype, and surely
        {**ALIKE, "teacher_entropy": 2.0},
    ],
)
def test_a_healthy_run_goes_on(metrics: dict) -> None:
    assert stops_at(metrics) is None


@pytest.mark.parametrize(
    ("n_steps", "stop"), [(20, 19), (100, 74), (240, 169), (300, 199), (500, 249), (5000, 549), (18, None)]
)
def test_a_short_training_can_be_stopped_too(n_steps: int, stop: int | None) -> None:
    watch = CollapseWatch.for_steps(n_steps, 64)
    stopped = None
    for step in range(n_steps):
        try:
            watch.look(SAME, step)
        except TrainingStoppedError:
            stopped = step
            break
    assert stopped == stop


def test_one_good_step_begins_the_count_anew() -> None:
    watch = CollapseWatch(64, grace=0, patience=5)
    for step in range(50):
        watch.look(HEALTHY if step % 5 == 4 else ALIKE, step)


@pytest.mark.parametrize(
    ("metrics", "words"),
    [(ALIKE, "all prototypes are alike"), (ONE, "one prototype"), (SAME, "nearly the same vector")],
)
def test_the_reason_is_told(metrics: dict, words: str) -> None:
    with pytest.raises(TrainingStoppedError, match=words):
        CollapseWatch(64, grace=0, patience=1).look(metrics, 7)


def test_without_prototypes_the_features_alone_decide() -> None:
    assert stops_at({"feature_sd": 0.3}, None) is None
    assert stops_at({"feature_sd": 1e-6}, None) == 14


def test_entropy_is_scipys() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(5), size=3)
    shares[0] = [1, 0, 0, 0, 0]
    np.testing.assert_allclose(entropy(torch.tensor(shares)), scipy.stats.entropy(shares, axis=1), atol=1e-12)


def test_spread_of_features_goes_from_0_to_1_whatever_their_length() -> None:
    assert feature_sd(torch.ones(5, 3) * torch.arange(1.0, 6)[:, None]).item() == pytest.approx(0, abs=1e-6)
    assert feature_sd(torch.tensor([[1.0, 0], [-7, 0]])).item() == pytest.approx(1)
    vectors = np.random.default_rng(1).normal(size=(20, 4))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert feature_sd(torch.tensor(vectors)).item() == pytest.approx(math.sqrt(unit.var(axis=0).sum()), rel=1e-5)
