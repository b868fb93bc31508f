"""Signals that come within a block that is to be finished first."""

import os
import signal

import pytest

from locatlas.interrupts import unbroken


def test_a_signal_is_taken_after_its_block_also_where_the_block_raises() -> None:
    def broken() -> None:
        with unbroken():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt) as caught:
        broken()
    assert isinstance(caught.value.__context__, ValueError)
