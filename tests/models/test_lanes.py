"""Passes that run side by side, and what torch does in and beside them."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from locatlas.models.encode import load_encoder, resolve
from locatlas.models.lanes import MOST, Lanes, lanes_here


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch as it is on a machine of two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_items_are_worked_on_at_once_and_come_in_order() -> None:
    meeting = threading.Barrier(2, timeout=30)  # breaks unless two are inside together

    def work(item: int) -> int:
        meeting.wait()
        return 10 * item

    assert list(Lanes().map(work, range(4))) == [0, 10, 20, 30]


@pytest.mark.usefixtures("two_threads")
def test_lanes_share_torchs_threads_and_leave_those_of_others_alone() -> None:
    lanes, here = Lanes(), threading.get_ident()
    told = list(lanes.map(lambda _: (threading.get_ident(), torch.get_num_threads()), range(8)))
    assert {n for _, n in told} == {1}
    assert here not in {thread for thread, _ in told}
    assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_there_are_as_many_lanes_as_torch_has_threads_and_no_more_than_passes_of_a_batch() -> None:
    before = torch.get_num_threads()
    try:
        for threads, lanes in ((1, 1), (3, 3), (MOST + 4, MOST)):
            torch.set_num_threads(threads)
            assert lanes_here() == lanes
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_one_item_and_one_core_stay_in_the_thread_that_asks() -> None:
    here = threading.get_ident()
    assert list(Lanes().map(lambda _: threading.get_ident(), [0])) == [here]
    torch.set_num_threads(1)
    assert list(Lanes().map(lambda _: threading.get_ident(), [0, 1])) == [here, here]


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_lane_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Lanes().map(lambda item: 1 // item, [1, 0, 2]))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_vectors_have_the_same_bits_with_lanes_and_without(precision: str) -> None:
    spec = resolve("locatlas_pico.untrained", precision=precision)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(1, len(spec.slots), 224, 224, generator=generator) for _ in range(14)]
    beside = load_encoder(spec, device="cpu")
    for _ in range(2):  # the first pass of a shape runs alone
        found = beside.encode_prepared(inputs)
        torch.set_num_threads(1)
        alone = load_encoder(spec, device="cpu").encode_prepared(inputs)
        torch.set_num_threads(2)
        np.testing.assert_array_equal(found, alone)
