"""How fast a stage of a run goes and how long it will take. Pure."""

from collections import deque
from dataclasses import dataclass, field

__all__ = ["Pace", "duration"]

WINDOW_S = 60.0
"""The rate is that of the last minute: the first images of a run wait for the network to load."""


@dataclass(slots=True)
class Pace:
    """One stage.

    Attributes:
        began_s: When it began, on any clock.
        seen: (seconds, done) of the last minute, the oldest first.
    """

    began_s: float
    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def tell(self, now_s: float, done: int) -> None:
        """So much is done now."""
        self.seen.append((now_s, done))
        while len(self.seen) > 2 and now_s - self.seen[0][0] > WINDOW_S:
            self.seen.popleft()

    @property
    def rate(self) -> float | None:
        """Items a second over the last minute; None before two different times."""
        if not self.seen:
            return None
        (then, before), (now, done) = self.seen[0], self.seen[-1]
        return (done - before) / (now - then) if now > then and done > before else None

    def remaining_s(self, total: int) -> float | None:
        """Seconds until all is done at this rate; None where it is not known."""
        rate = self.rate
        return None if rate is None else max(0, total - self.seen[-1][1]) / rate


def duration(seconds: float) -> str:
    """As people say it: "42 s", "3 min 5 s", "2 h 10 min", "3 d 4 h"."""
    whole = round(seconds)
    for big, small, of_big, of_small in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= of_big:
            return f"{whole // of_big} {big} {whole % of_big // of_small} {small}"
    return f"{whole} s"
