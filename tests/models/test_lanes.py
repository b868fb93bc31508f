"""Passes that run side by side, and what torch does in and beside them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from locatlas.models.encode import load_encoder, resolve
from locatlas.models.lanes import Lanes, give_torch_threads, in_one_thread, lanes_here
from tests.quick import some


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

    assert list(Lanes(4).map(work, range(4))) == [0, 10, 20, 30]


@pytest.mark.usefixtures("two_threads")
def test_what_wants_one_thread_has_one_and_leaves_torch_and_errors_as_they_are() -> None:
    assert in_one_thread(lambda: (torch.get_num_threads(), threading.get_ident() != threading.main_thread().ident)) == (
        1,
        True,
    )
    with pytest.raises(ZeroDivisionError):
        in_one_thread(lambda: 1 // 0)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_lanes_share_torchs_threads_and_leave_those_of_others_alone() -> None:
    lanes, here = Lanes(4), threading.get_ident()
    told = list(lanes.map(lambda _: (threading.get_ident(), torch.get_num_threads()), range(8)))
    assert {n for _, n in told} == {1}
    assert here not in {thread for thread, _ in told}
    assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


@pytest.mark.parametrize(
    ("threads", "size", "lanes", "each"), [(1, 4, 1, 1), (3, 4, 3, 1), (12, 4, 12, 1), (12, 64, 4, 3), (3, 200, 1, 3)]
)
def test_lanes_take_all_threads_and_no_more_images_than_a_chunk_has(
    threads: int, size: int, lanes: int, each: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert lanes_here(size) == lanes
        found = list(Lanes(size).map(lambda _: torch.get_num_threads(), range(40)))
        assert set(found) == {each}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("threads", "at_once"), [(1, 0), (2, 0), (3, 36), (5, 40), (8, 0), (12, 48), (64, 256), (96, 256)]
)
def test_as_many_images_are_asked_for_as_keep_all_lanes_busy(threads: int, at_once: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert load_encoder(resolve("locatlas_pico.untrained"), device="cpu").at_once == at_once
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_a_single_item_has_a_lane_too_and_one_core_stays_in_the_thread_that_asks() -> None:
    here, lanes = threading.get_ident(), Lanes(4)
    assert list(lanes.map(lambda _: threading.get_ident(), [0])) != [here]
    torch.set_num_threads(1)
    assert list(lanes.map(lambda _: threading.get_ident(), [0, 1])) == [here, here]


@pytest.mark.usefixtures("two_threads")
def test_a_thread_that_cannot_be_started_leaves_nobody_waiting_and_torch_as_it_was() -> None:
    class Poor(ThreadPoolExecutor):
        left = 1

        def submit(self, *args: Any, **options: Any) -> Any:
            if not self.left:
                message = "can't start new thread"
                raise RuntimeError(message)
            self.left -= 1
            return super().submit(*args, **options)

    pool = Poor(2)
    with pytest.raises(RuntimeError, match="can't start"):
        give_torch_threads(pool, 2, 1)
    ended = threading.Thread(target=pool.shutdown, daemon=True)
    ended.start()
    ended.join(timeout=30)
    assert not ended.is_alive()
    told: list[int] = []
    later = threading.Thread(target=lambda: told.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert [*told, torch.get_num_threads()] == [2, 2]


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_lane_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Lanes(4).map(lambda item: 1 // item, [1, 0, 2]))


@pytest.mark.parametrize("precision", some(["fp32", "bf16"], 1))
def test_vectors_have_the_same_bits_on_any_number_of_cores_and_whatever_runs_beside(precision: str) -> None:
    """bfloat16 on a processor with AMX: a pass with eight threads has other bits than one with one."""
    spec = resolve("locatlas_pico.untrained", precision=precision)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(1, len(spec.slots), 224, 224, generator=generator) for _ in range(14)]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 8):
            torch.set_num_threads(threads)
            encoder = load_encoder(spec, device="cpu")
            found += [encoder.encode_prepared(inputs) for _ in range(2)]  # the first pass of a shape runs alone
            # a run that is continued may have no more than this left to do
            found.append(np.concatenate([encoder.encode_prepared(inputs[:3]), found[0][3:]]))
    finally:
        torch.set_num_threads(before)
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("edge", "batch_size", "beside"), [(48, None, True), (64, None, False), (48, 1, False)])
def test_large_images_and_that_of_a_question_have_all_threads(
    monkeypatch: pytest.MonkeyPatch, edge: int, batch_size: int | None, beside: bool
) -> None:
    monkeypatch.setattr("locatlas.models.passes._SIDE_BY_SIDE", 9)
    spec = resolve("locatlas_pico.untrained").with_changes(resize="none_pad_to_patch")
    encoder = load_encoder(spec, device="cpu")
    threads: set[int] = set()
    real = encoder._passes.network

    def noted(batch: torch.Tensor) -> torch.Tensor:
        threads.add(torch.get_num_threads())
        found: torch.Tensor = real(batch)
        return found

    encoder._passes.network = noted
    encoder.encode_prepared([torch.zeros(1, len(spec.slots), edge, edge)], batch_size=batch_size)
    assert threads == {1 if beside else 2}
