import threading
from datetime import UTC, datetime

import pytest
from fetching.pace import Pace, backoff_s, retry_after_s


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_requests_start_at_even_distances_and_the_first_at_once() -> None:
    clock = Clock()
    pace = Pace(4, clock=lambda: clock.now, sleep=clock.sleep)
    starts = []
    for _ in range(5):
        pace.wait()
        starts.append(clock.now)
    assert starts == [100, 100.25, 100.5, 100.75, 101]


def test_time_that_went_by_is_not_made_up_for_by_a_burst() -> None:
    clock = Clock()
    pace = Pace(4, clock=lambda: clock.now, sleep=clock.sleep)
    pace.wait()
    clock.now += 60
    starts = []
    for _ in range(3):
        pace.wait()
        starts.append(clock.now)
    assert starts == [160, 160.25, 160.5]


def test_a_hold_keeps_everyone_waiting_and_never_shortens_a_longer_one() -> None:
    clock = Clock()
    pace = Pace(1000, clock=lambda: clock.now, sleep=clock.sleep)
    pace.hold(30)
    pace.hold(5)
    pace.wait()
    assert clock.now == 130


def test_threads_share_one_pace() -> None:
    slept: list[float] = []
    pace = Pace(10, clock=lambda: 0.0, sleep=slept.append)
    threads = [threading.Thread(target=pace.wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slept) == pytest.approx([i / 10 for i in range(1, 20)])


def test_waits_double_up_to_a_minute() -> None:
    assert [backoff_s(n, chance=lambda: 1.0) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [backoff_s(n, chance=lambda: 0.0) for n in (1, 2, 9)] == [0.5, 1, 30]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("12", 12),
        (None, None),
        ("", None),
        ("-3", None),
        ("Tue, 24 Nov 2026 08:00:20 GMT", 20),
        ("Tue, 24 Nov 2026 07:00:00 GMT", 0),
        ("Tue, 24 Nov 2026 10:00:00 GMT", 300),
    ],
)
def test_a_wish_for_patience_is_read_as_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=datetime(2026, 11, 24, 8, tzinfo=UTC)) == seconds
