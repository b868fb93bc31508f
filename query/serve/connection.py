"""Connections that do not wait for ever: uvicorn's, with a time within which the head of a request must be there."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_S", "PatientProtocol"]

HEAD_S = 10.0
"""Seconds that the head of a request may take to come in, from the connection or from its first byte."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it; it has a timeout between requests, and none for a head that never ends.

    Half a head costs whoever sends it nothing, and 256 of them would be all connections that the server takes.
    """

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._head_due: asyncio.TimerHandle | None = None

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
        super().connection_lost(exc)

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
