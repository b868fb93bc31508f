"""Ctrl-C and SIGTERM: a program stops at once between commits and at the end of one within; asked twice, it dies.

Only the main thread is interrupted, as Python has it. A library's caller who keeps Python's own handlers gets
KeyboardInterrupt as ever, but not in the middle of a commit.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = [
    "Interrupt",
    "StopRequested",
    "asked_to_stop",
    "check_stop",
    "deferred",
    "stop_on_signals",
    "unbroken",
]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_asked: list[int] = []
"""The signal that this program was asked to stop by, once it was."""


class StopRequested(KeyboardInterrupt):
    """A signal asked the program to stop.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell gives to a program that the signal ended: 130 or 143."""
        return 128 + self.number

    def __str__(self) -> str:
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name


def stop_on_signals() -> None:
    """Make SIGINT and SIGTERM raise StopRequested in this program; the second one ends it at once.

    For a program's start, in its main thread.
    """
    _asked.clear()
    for number in _SIGNALS:
        # whoever started us in the background (nohup, a script's &) may have had SIGINT ignored
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    for one in _SIGNALS:
        # the system's own handling: it works even where Python does not get to run
        signal.signal(one, signal.SIG_DFL)
    _asked.append(number)
    raise StopRequested(number)


def asked_to_stop() -> StopRequested | None:
    """The request that this program was given, if it was."""
    return StopRequested(_asked[0]) if _asked else None


def check_stop() -> None:
    """Raise StopRequested again if it was raised where Python swallows it, e.g. while an object was finalized."""
    if (request := asked_to_stop()) is not None:
        raise request


class Interrupt:
    """Whether a signal came.

    Attributes:
        number: Of the first one; None before.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def seen(self) -> bool:
        """Whether there was one."""
        return self.number is not None

    def take(self) -> None:
        """Do now what the first signal would have done: raise KeyboardInterrupt, as a rule."""
        if self.number is None:
            return
        self._before[self.number](self.number, None)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal; the next one is not noted any more."""
        self.number = number
        for one in self._before:
            signal.signal(one, self._after(one))

    def _after(self, number: int) -> Any:
        before = self._before[number]
        if isinstance(before, Interrupt):
            return before._after(number)
        return signal.SIG_DFL if before is _stop else before


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Note the first SIGINT or SIGTERM instead of being interrupted; from the second on all is as it was.

    What does not call Python (SIGTERM that the program does not handle) stays as it is. Python lets only the main
    thread take signals; in another nothing is changed and nothing noted.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = interrupt._before
    for number in _SIGNALS:
        if callable(handler := signal.getsignal(number)):
            before[number] = handler
            signal.signal(number, interrupt)
    try:
        yield interrupt
    finally:
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if _asked and handler is _stop else handler)


@contextmanager
def unbroken() -> Iterator[None]:
    """A block, of seconds at most, that is finished first when a signal comes meanwhile; a second one breaks it.

    The signal is taken as well where the block raises.
    """
    interrupt = Interrupt()
    try:
        with deferred() as interrupt:
            yield
    finally:
        interrupt.take()
