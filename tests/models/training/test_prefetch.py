import threading
import time
from collections import namedtuple

import pytest
import torch

from locatlas.models.training.prefetch import prefetched, to_device


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_order_is_kept_whatever_takes_longer(workers: int) -> None:
    def make(i: int) -> int:
        time.sleep(0.003 if i % 3 == 0 else 0)
        return i * i

    assert list(prefetched(make, range(5, 30), workers=workers)) == [i * i for i in range(5, 30)]


def test_no_more_than_the_threads_and_one_are_made_ahead() -> None:
    begun: list[int] = []
    for taken, _ in enumerate(prefetched(lambda i: begun.append(i), range(20), workers=2), start=1):
        assert len(begun) <= taken + 2
    assert sorted(begun) == list(range(20))


def test_an_error_is_raised_before_its_turn() -> None:
    release = threading.Event()

    def make(i: int) -> int:
        if i == 0:
            assert release.wait(30)
        if i == 1:
            threading.Timer(0.2, release.set).start()
            message = "batch 1"
            raise ValueError(message)
        return i

    made = prefetched(make, range(9), workers=2)
    with pytest.raises(ValueError, match="batch 1"):  # although batch 0 is not made yet
        next(made)
    assert not any(thread.name.startswith("batch") for thread in threading.enumerate())


def test_threads_end_when_the_rest_is_not_wanted() -> None:
    made = prefetched(lambda i: i, range(100), workers=2)
    assert next(made) == 0
    made.close()
    assert not any(thread.name.startswith("batch") for thread in threading.enumerate())


def test_batches_are_made_with_one_thread_each_and_nothing_else_is_slowed() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert set(prefetched(lambda _: torch.get_num_threads(), range(6), workers=2)) == {1}
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (torch.get_num_threads(), later) == (2, [2])
    finally:
        torch.set_num_threads(before)


def test_nested_batches_keep_their_shape() -> None:
    pair = namedtuple("pair", "x y")
    batch = {"a": (torch.ones(2), [torch.zeros(1), "name"]), "b": pair(torch.ones(1), 3)}
    moved = to_device(batch, torch.device("meta"))
    assert moved["a"][0].device.type == moved["a"][1][0].device.type == moved["b"].x.device.type == "meta"
    assert (moved["a"][1][1], moved["b"].y, type(moved["b"])) == ("name", 3, pair)
    assert batch["a"][0].device.type == "cpu"
