"""Which images a step takes, against counting."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.models.training.sampling import ClassBalanced, generator, shuffled


def table_of(rows: list[str], classes: str = "abc") -> np.ndarray:
    return np.array([[one in row for one in classes] for row in rows])


@given(n=st.integers(1, 30), batch_size=st.integers(1, 12), seed=st.integers(0, 99))
def test_every_image_comes_once_an_epoch_though_batches_run_over_its_end(n: int, batch_size: int, seed: int) -> None:
    stream = [i for step in range(3 * n) for i in shuffled(n, seed=seed, step=step, batch_size=batch_size)]
    for epoch in range(3):
        assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_epochs_and_seeds_have_other_orders() -> None:
    orders = {tuple(shuffled(40, seed=seed, step=step, batch_size=40)) for seed in (0, 1) for step in (0, 1)}
    assert len(orders) == 4


def test_random_numbers_follow_from_the_key_alone_and_neighbors_share_none() -> None:
    draws = [torch.rand(50, generator=generator(0, step, index)) for step in range(3) for index in range(3)]
    assert torch.equal(draws[4], torch.rand(50, generator=generator(0, 1, 1)))
    assert len(torch.cat(draws).unique()) == 450


ROWS = ["a"] * 20 + ["b"] * 5 + ["ab"] * 2 + ["c"]


def test_a_class_is_drawn_first_and_then_one_of_its_images() -> None:
    found = ClassBalanced(table_of(ROWS)).shares
    a, b, c = 1 / 22, 1 / 7, 1 / 1
    np.testing.assert_allclose(found, [(a * ("a" in r) + b * ("b" in r) + c * ("c" in r)) / 3 for r in ROWS])
    assert found.sum() == pytest.approx(1)


def test_images_are_drawn_as_often_as_their_shares_say() -> None:
    sampler = ClassBalanced(table_of(ROWS))
    drawn = Counter(i for step in range(2000) for i in sampler.indices(seed=0, step=step, batch_size=7))
    found = np.array([drawn[i] for i in range(len(ROWS))]) / 14000
    np.testing.assert_allclose(found, sampler.shares, atol=0.005)


@given(
    rows=st.lists(st.sampled_from("abc"), min_size=3, max_size=40).filter(lambda rows: len(set(rows)) == 3),
    batches=st.integers(1, 6),
    step=st.integers(0, 1000),
)
def test_each_batch_has_all_classes_in_equal_parts(rows: list[str], batches: int, step: int) -> None:
    """Whatever the order of the rows: names and rows often follow the classes."""
    size = 3 * batches
    drawn = ClassBalanced(table_of(rows)).indices(seed=1, step=step, batch_size=size)
    assert Counter(rows[i] for i in drawn) == dict.fromkeys("abc", batches)
    for one in "abc":
        times = Counter(i for i in drawn if rows[i] == one)
        every = batches / rows.count(one)
        assert max(times.values()) <= np.floor(every) + 2


def test_images_of_no_class_are_one_class_more() -> None:
    sampler = ClassBalanced(table_of(["a", "a", "", "", "", "b"]))
    np.testing.assert_allclose(sampler.shares, [1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9, 1 / 3])


def test_positions_in_a_batch_do_not_follow_the_classes() -> None:
    """Else parts and processes, which take a batch in pieces, would see one class each."""
    sampler = ClassBalanced(table_of(["a"] * 10 + ["b"] * 10 + ["c"] * 10))
    first = Counter(sampler.indices(seed=0, step=step, batch_size=9)[0] // 10 for step in range(300))
    assert min(first[one] for one in range(3)) > 60


def test_draws_are_a_function_of_seed_and_step() -> None:
    sampler = ClassBalanced(table_of(ROWS))
    assert sampler.indices(seed=3, step=5, batch_size=16) == ClassBalanced(table_of(ROWS)).indices(
        seed=3, step=5, batch_size=16
    )
    assert sampler.indices(seed=3, step=5, batch_size=16) != sampler.indices(seed=3, step=6, batch_size=16)


def test_nothing_to_sample_from_is_refused() -> None:
    with pytest.raises(InputError, match="no images"):
        ClassBalanced(np.zeros((0, 3), dtype=bool))
