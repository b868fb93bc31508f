import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from locatlas.models.training.schedules import cosine, warmed_cosine, warmup_steps


@given(st.integers(2, 60), st.floats(0, 1), st.floats(0, 1))
def test_the_cosine_is_torchs(n_steps: int, start: float, end: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=start)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps - 1, eta_min=end)
    for step in range(n_steps):
        assert cosine(step, n_steps, start, end) == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        schedule.step()


def test_the_ends_of_the_cosine_are_exact() -> None:
    assert cosine(0, 10, 0.3, 0.7) == 0.3
    assert cosine(9, 10, 0.3, 0.7) == pytest.approx(0.7, abs=1e-15)
    assert cosine(12, 10, 0.3, 0.7) == cosine(9, 10, 0.3, 0.7)
    assert cosine(0, 1, 0.3, 0.7) == 0.3
    assert cosine(1, 3, 1.0, 0.0) == pytest.approx(0.5)


def test_the_rate_rises_in_a_line_and_then_falls() -> None:
    rates = [warmed_cosine(step, 8, 4.0, 0.0, 3) for step in range(8)]
    assert rates[:4] == [1.0, 2.0, 3.0, 4.0]
    assert rates[4:] == pytest.approx([2 * (1 + math.cos(math.pi * i / 4)) for i in range(1, 5)])


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 1000))
def test_the_peak_is_reached_once_and_never_exceeded(share: float, n_steps: int) -> None:
    n_warmup = warmup_steps(share, n_steps)
    assert 0 <= n_warmup < n_steps
    rates = [warmed_cosine(step, n_steps, 1.0, 0.0, n_warmup) for step in range(n_steps)]
    assert max(rates) == rates[n_warmup] == 1.0
    assert rates[0] > 0
    assert rates[:n_warmup] == sorted(rates[:n_warmup])
    assert rates[n_warmup:] == sorted(rates[n_warmup:], reverse=True)
