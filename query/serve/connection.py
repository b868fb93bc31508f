"""Connections that do not wait for ever: for the head of a request, or for a reader who takes nothing in."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_S", "LEAST_BYTES", "SEND_S", "PatientProtocol"]

HEAD_S = 10.0
"""Seconds that the head of a request may take to come in, from the connection or from its first byte."""


SEND_S = 30.0
"""Seconds within which a reader must take in `LEAST_BYTES` of an answer, as long as so much waits for it."""

LEAST_BYTES = 64 * 2**10


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it; it has a timeout between requests, and none for a head that never ends.

    Half a head costs whoever sends it nothing, and 256 of them would be all connections that the server takes. Nor does
    it cost anything to read an answer a byte a minute, which holds its place, and its table in memory, all the while.
    """

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._head_due: asyncio.TimerHandle | None = None
        self._send_due: asyncio.TimerHandle | None = None
        self._waiting = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's; the first head is waited for."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's; where the head is there, the wait is over, where it is begun, it runs on."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        else:
            self._head_is_there()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's."""
        self._head_is_there()
        if self._send_due is not None:
            self._send_due.cancel()
            self._send_due = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """As uvicorn's: more waits to be sent than the reader takes in, so from now on it is watched."""
        super().pause_writing()
        if self._send_due is None:
            self._waiting = self.transport.get_write_buffer_size()
            self._send_due = self.loop.call_later(SEND_S, self._look_at_reader)

    def resume_writing(self) -> None:
        """As uvicorn's: nearly all was taken in, and the reader is left alone until it is behind again."""
        super().resume_writing()
        if self._send_due is not None:
            self._send_due.cancel()
            self._send_due = None

    def _wait_for_head(self) -> None:
        if self._head_due is None:
            self._head_due = self.loop.call_later(HEAD_S, self._give_up)

    def _head_is_there(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _give_up(self) -> None:
        self._head_due = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()

    def _look_at_reader(self) -> None:
        """Give up a reader that took in too little since the last look; only one piece waits at a time."""
        waiting = self.transport.get_write_buffer_size()
        if self._waiting - waiting < LEAST_BYTES:
            self._send_due = None
            self.transport.abort()
            return
        self._waiting = waiting
        self._send_due = self.loop.call_later(SEND_S, self._look_at_reader)
