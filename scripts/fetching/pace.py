"""How fast a server is asked, by all threads together. Sleeps."""

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["Pace", "backoff_s", "retry_after_s"]

_LONGEST_WAIT_S = 300.0
"""A server that asks for more is asked again after this, and counts as failing if it still refuses."""


class Pace:
    """Starts of requests, evenly spaced over all threads that share it.

    Args:
        per_second: Requests a second, positive.
        clock: Seconds, never going back.
        sleep: Waits for so many seconds; unless given, until `stopped` is set at the longest.

    Attributes:
        stopped: Set it to end all waits: nothing will be asked any more.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._gap = 1 / per_second
        self._clock = clock
        self.stopped = threading.Event()
        self.sleep = sleep or self.stopped.wait
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next request may start, or none will."""
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            self._next = start + self._gap
        if start > now:
            self.sleep(start - now)

    def hold(self, seconds: float) -> None:
        """No request of any thread starts for so long: what a server that is asked too much asks for."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


def backoff_s(failures: int, *, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures in a row: 1, 2, 4, ... at most 60, each half to whole by chance."""
    return float(min(2.0 ** (failures - 1), 60.0) * (0.5 + chance() / 2))


def retry_after_s(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for, as a number or a date; None where it asks for nothing sensible.

    >>> retry_after_s("7"), retry_after_s("soon"), retry_after_s("86400")
    (7.0, None, 300.0)
    """
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdecimal():
        seconds = float(value)
    else:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        seconds = (at - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WAIT_S)
