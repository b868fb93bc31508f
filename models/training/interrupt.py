"""Ctrl-C that waits for the end of a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

__all__ = ["Interrupt", "interruptible"]


@dataclass(slots=True)
class Interrupt:
    """Whether Ctrl-C was pressed.

    Attributes:
        seen: Set by the first one.
    """

    seen: bool = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Note the first SIGINT instead of raising KeyboardInterrupt; from the second on all is as it was.

    Python lets only the main thread take signals; in another nothing is changed and nothing noted.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: FrameType | None) -> None:
        interrupt.seen = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
