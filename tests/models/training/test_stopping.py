import math

import numpy as np
import pytest

from locatlas.errors import TrainingStoppedError
from locatlas.models.training.stopping import BestSoFar, Divergence


def watch(losses: list[float]) -> Divergence:
    divergence = Divergence()
    for loss in losses:
        divergence.watch(loss, 1.0)
    return divergence


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (-math.inf, 1.0), (1.0, math.nan)])
def test_what_is_not_finite_stops_at_the_first_step(loss: float, norm: float) -> None:
    with pytest.raises(TrainingStoppedError, match=r"nan|inf"):
        Divergence().watch(loss, norm)


@pytest.mark.parametrize("level", [2.8, -2.8, 1e-3])
def test_losses_that_stay_high_stop(level: float) -> None:
    with pytest.raises(TrainingStoppedError, match=r"median .* over the last 10 steps"):
        watch([level] * 50 + [level + 5.1 * abs(level)] * 10)


def test_single_hard_batches_do_not_stop_but_leave_the_weights_in_doubt(rng: np.random.Generator) -> None:
    losses = (2.8 * np.exp(-np.arange(400) / 50) + 0.01 * rng.random(400)).tolist()
    losses[50::20] = [60.0] * len(losses[50::20])
    divergence = watch(losses[:371])
    assert losses[370] == 60.0
    assert not divergence.is_calm
    divergence.watch(0.01, 1.0)
    assert divergence.is_calm


def test_a_loss_that_returns_to_where_it_began_is_no_divergence() -> None:
    watch([2.8] * 20 + [0.001] * 300 + [2.8] * 300)


def test_the_state_of_another_says_the_same_of_the_next_step() -> None:
    losses = [1.0] * 40 + [30.0] * 3
    whole, resumed = watch(losses), Divergence()
    resumed.restore(whole.state())
    for divergence in (whole, resumed):
        divergence.watch(30.0, 1.0)  # the fourth of ten: the median is still low
        with pytest.raises(TrainingStoppedError, match="explodes"):
            divergence.watch(30.0, 1.0)
    assert resumed.state() == whole.state()


def test_equal_is_not_better_and_nan_is_never() -> None:
    best = BestSoFar()
    assert not best.improves(math.nan)
    assert best.improves(-5.0)
    best.set(3, -5.0, {}, {})
    assert not best.improves(-5.0)
    assert best.improves(-4.9)


def test_patience_counts_looks_in_a_row() -> None:
    best = BestSoFar(looks_since=2)
    assert not best.is_exhausted(None)
    assert not best.is_exhausted(3)
    assert best.is_exhausted(2)
    best.set(1, 0.0, {}, {})
    assert not best.is_exhausted(1)
